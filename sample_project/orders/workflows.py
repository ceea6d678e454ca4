"""An order from the first mail to the parcel, as one function that may take days.

Each step is recorded when it is done. Between them the function may wait for a payment or for a
person: no process waits with it, and a restart of the site takes nothing away.
"""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from django_qstash import NonRetryableError, workflow
from orders import tasks
from orders.models import Order, Sale

#: How long a customer has to pay, and we to look at the proof.
PAYMENT_TIME = timedelta(minutes=2)
PROOF_TIME = timedelta(days=1)


def payment_key(order_id: int) -> str:
    """The event by which the payment service tells of a payment."""
    return f"order-paid:{order_id}"


def set_aside(ctx):
    """The run has failed: the order is closed, and the page says why."""
    close_order(ctx.data["order_id"], f"something went wrong at {ctx.failed_step}")


@workflow("orders.fulfil", timeout=timedelta(days=3), on_failure=set_aside)
def fulfil(ctx, order_id: int):
    """Take the money, have the proof approved, print, and send the parcel off."""
    ctx.step.task("receipt", tasks.send_receipt, order_id)

    payment = ctx.step.wait_for_event("payment", payment_key(order_id), timeout=PAYMENT_TIME)
    if not payment:
        return ctx.step.run("close", close_order, order_id, "not paid in time")
    # The entry in the books and the record of this step are committed together: never two of them.
    ctx.step.run("book the sale", book_sale, order_id, payment.data["amount"], atomic=True)

    proof = ctx.step.wait_for_signal("proof", timeout=PROOF_TIME)
    if not proof or not proof.data["approved"]:
        ctx.step.run("refund", refund, order_id, atomic=True)
        return ctx.step.run("close", close_order, order_id, "the proof was not approved")

    # Side by side, each in a delivery of its own.
    press = ctx.step.start("print", tasks.print_copies, order_id)
    label = ctx.step.start("label", write_label, order_id)
    _, address = ctx.step.gather(press, label)
    courier = ctx.step.task("courier", tasks.find_courier, order_id)
    return f"{address}: {courier}"


def book_sale(order_id: int, amount: str) -> str:
    """An insert: run twice, it would book twice. The step is atomic, so it cannot be."""
    order = Order.objects.get(pk=order_id)
    if str(order.total) != amount:
        raise NonRetryableError(f"{amount} EUR were paid, and the order costs {order.total} EUR.")
    Sale.objects.create(order=order, amount=amount)
    Order.objects.filter(pk=order_id).update(paid=timezone.now())
    return f"{amount} EUR"


def refund(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    Sale.objects.create(order=order, amount=-order.total)
    Order.objects.filter(pk=order_id).update(paid=None)
    return f"{order.total} EUR refunded"


def write_label(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    return f"{order.customer}, {order.grams / 1000:.1f} kg"


def close_order(order_id: int, why: str) -> str:
    Order.objects.filter(pk=order_id).update(closed=why)
    return why
