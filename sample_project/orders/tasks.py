"""The shop's tasks, as a Celery project writes them.

Tasks take ids and load the rest. They may be delivered twice, so each looks first whether its work
is done already.
"""

import asyncio
import time

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F
from django.db.models.functions import Least
from django.utils import timezone

from django_qstash import shared_task
from orders import paper, payments
from orders.couriers import COURIERS
from orders.models import Order


@shared_task
def send_receipt(order_id):
    """E-mail the receipt of an order."""
    order = Order.objects.get(pk=order_id)
    send_mail(
        subject=f"Your order {order.pk}",
        message=(
            f"Dear {order.customer},\n\nthank you for your order: {order.copies} copies of "
            f"{order.get_item_display()}, {order.total} EUR.\n\nHalftone Press"
        ),
        from_email=None,
        recipient_list=[order.email],
    )
    Order.objects.filter(pk=order_id).update(receipted=timezone.now())
    return f"Receipt sent to {order.email}"


@shared_task(cron="0 18 * * mon-fri", timezone="Europe/Berlin")
def close_the_day():
    """Count what was taken today. It runs by the clock, which stands here, in the code."""
    taken = Order.objects.filter(taken__date=timezone.now().date())
    total = sum((order.total for order in taken), start=0)
    return f"{len(taken)} orders today, {total} EUR"


@shared_task
def remind_to_collect(order_id):
    """Remind a customer that the order is ready. Sent ahead of time, with a countdown."""
    order = Order.objects.get(pk=order_id)
    send_mail(
        subject=f"Order {order.pk} is waiting for you",
        message=f"Dear {order.customer},\n\nyour prints are ready.\n\nHalftone Press",
        from_email=None,
        recipient_list=[order.email],
    )
    return f"{order.customer} was reminded"


@shared_task
def charge_card(order_id):
    """Charge the card of an order; a card that is declined fails the task."""
    order = Order.objects.get(pk=order_id)
    if order.paid:
        return "Paid already"
    reference = payments.charge(order.card, order.total)
    Order.objects.filter(pk=order_id).update(paid=timezone.now())
    return f"{order.total} EUR charged, reference {reference}"


@shared_task(bind=True, max_retries=5)
def order_paper(self, order_id):
    """Order the paper for an order. While the mill is busy, try again two seconds later."""
    order = Order.objects.get(pk=order_id)
    try:
        number = paper.order(order.copies, asked=self.request.retries)
    except paper.MillBusy as busy:
        raise self.retry(exc=busy, countdown=2 * settings.PACE) from busy
    return f"{order.copies} sheets ordered under {number}, on try {self.request.retries + 1}"


@shared_task(bind=True)
def print_copies(self, order_id):
    """Run the press, a tenth of the order at a time, and tell how far it is.

    The count is in the database. If this process dies, the next delivery prints what is missing.
    """
    order = Order.objects.get(pk=order_id)
    batch = max(1, -(-order.copies // 10))
    while order.printed < order.copies:
        time.sleep(0.5 * settings.PACE)
        # Counted by the database: two jobs on one order print it once.
        printed = Least(F("printed") + batch, F("copies"))
        Order.objects.filter(pk=order_id).update(printed=printed)
        order.refresh_from_db()
        self.update_state(state="PRINTING", meta=[order.printed, order.copies])
    return f"{order.printed} copies are on the rack"


@shared_task
async def find_courier(order_id):
    """Ask all couriers at once, and book the cheapest."""
    order = await Order.objects.aget(pk=order_id)
    quotes = await asyncio.gather(*(courier.quote(order.grams) for courier in COURIERS))
    price, courier = min(zip(quotes, COURIERS, strict=True), key=lambda pair: pair[0])
    await Order.objects.filter(pk=order_id).aupdate(courier=courier.name)
    return f"{courier.name} takes {order.grams / 1000:.1f} kg for {price} EUR"


@shared_task
def pack_parcel(order_id, parcel, parcels):
    """Pack one of the parcels of an order, and say what it weighs."""
    time.sleep(0.5 * settings.PACE)
    grams = Order.objects.get(pk=order_id).grams
    return grams // parcels + (parcel < grams % parcels)


@shared_task
def write_labels(weights, order_id):
    """All parcels are packed: a label for each."""
    order = Order.objects.get(pk=order_id)
    return [f"{order.customer}, {grams / 1000:.1f} kg" for grams in weights]


@shared_task
def hand_over(labels, order_id):
    """Put the parcels on the ramp."""
    return f"{len(labels)} parcels of order {order_id} are on the ramp: {'; '.join(labels)}"
