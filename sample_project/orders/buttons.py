"""The buttons of an order's page: which task each sends, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_qstash import Task, group
from orders import tasks
from orders.models import Job, Order


@dataclass(frozen=True)
class Button:
    name: str
    label: str
    #: What there is to see.
    hint: str
    task: Task
    options: Mapping[str, Any] = field(default_factory=dict)

    def call(self, order: Order) -> str:
        """The line of Python behind the button."""
        name = self.task.__name__
        if not self.options:
            return f"{name}.delay({order.pk})"
        options = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{name}.apply_async(({order.pk},), {options})"

    def press(self, order: Order) -> Job:
        """Send the task. Raises ``PublishError`` when QStash cannot be reached."""
        sent = timezone.now()
        result = self.task.apply_async((order.pk,), **self.options)
        countdown = self.options.get("countdown")
        return Job.objects.create(
            order=order,
            title=self.label,
            call=self.call(order),
            task_id=result.id,
            sent=sent,
            due=sent + timedelta(seconds=countdown) if countdown else None,
        )


#: Parcels that an order is packed into.
PARCELS = 3


@dataclass(frozen=True)
class PackButton(Button):
    """Sends a canvas: parcels side by side, then one task with what they weigh, then another."""

    def call(self, order: Order) -> str:
        return (
            f"(group(pack_parcel.s({order.pk}, n, {PARCELS}) for n in range({PARCELS}))"
            f" | write_labels.s({order.pk}) | hand_over.s({order.pk})).delay()"
        )

    def press(self, order: Order) -> Job:
        packed = group(tasks.pack_parcel.s(order.pk, n, PARCELS) for n in range(PARCELS))
        canvas = packed | tasks.write_labels.s(order.pk) | tasks.hand_over.s(order.pk)
        sent = timezone.now()
        result = canvas.delay()
        return Job.objects.create(
            order=order, title=self.label, call=self.call(order), task_id=result.id, sent=sent
        )


RECEIPT = Button(
    "receipt",
    "E-mail the receipt",
    "An ordinary task: sent now, done in a moment.",
    tasks.send_receipt,
)

BUTTONS = {
    button.name: button
    for button in (
        RECEIPT,
        Button(
            "charge",
            "Charge the card",
            "Fails if the bank declines the card; QStash is told not to try again.",
            tasks.charge_card,
        ),
        Button(
            "paper",
            "Order the paper",
            "The mill is busy at first. The task asks to be run again, twice, and then succeeds.",
            tasks.order_paper,
        ),
        Button(
            "print",
            "Run the press",
            "A slow one. It would survive a restart: the count is in the database.",
            tasks.print_copies,
        ),
        Button(
            "courier",
            "Find a courier",
            "An async task that asks three couriers at once.",
            tasks.find_courier,
        ),
        PackButton(
            "pack",
            "Pack and label",
            "A chord: three parcels side by side; the last one has the labels written.",
            tasks.hand_over,
        ),
        Button(
            "reminder",
            "Remind in ten seconds",
            "Sent now, delivered later. No process waits for it.",
            tasks.remind_to_collect,
            {"countdown": 10},
        ),
    )
}
