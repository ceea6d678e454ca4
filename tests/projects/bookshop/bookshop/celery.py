"""The layout of Celery's own "First steps with Django"."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")

app = Celery("bookshop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    "report": {
        "task": "orders.tasks.report",
        "schedule": crontab(hour=7, minute=30, day_of_week="mon-fri"),
        "args": (16,),
    },
}


@app.task(bind=True)
def debug_task(self):
    return [self.request.retries, self.request.called_directly, self.request.is_eager]
