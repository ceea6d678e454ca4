"""A Celery object, as a project that comes from Celery has it; it reads the ``CELERY_*`` settings.

It is imported when Django starts. Tasks need none: those in ``orders/tasks.py`` do without.
"""

from django.db.models import Count, Sum

from django_qstash import Celery

app = Celery("cfehome")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.task(bind=True)
def takings(self):
    """What was ordered, by item; the soft time limit is that of the settings."""
    from orders.models import Order

    ordered = Order.objects.filter(paid__isnull=False).values("item").order_by("item")
    items = {
        row["item"]: [row["orders"], row["copies"]]
        for row in ordered.annotate(orders=Count("pk"), copies=Sum("copies"))
    }
    return {"paid": items, "at most": self.soft_time_limit}
