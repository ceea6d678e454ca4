"""The workflow of an order, as its page shows it: where it stands, and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django_qstash import notify, send_signal
from django_qstash.workflows.models import OPEN, StepExecution, WorkflowRun
from orders.models import Order
from orders.workflows import fulfil, payment_key


@dataclass(frozen=True)
class Move:
    """A button. ``when`` is what the run waits for then: "" for no run at all."""

    name: str
    label: str
    when: str
    call: str
    act: Callable[[Order], object]


MOVES = {
    move.name: move
    for move in (
        Move(
            "start",
            "Start the workflow",
            "",
            'fulfil.trigger({"order_id": …}, run_id="order-…")',
            # The id makes a second press lead to the same run.
            lambda order: fulfil.trigger({"order_id": order.pk}, run_id=order.run_id),
        ),
        Move(
            "pay",
            "Pay",
            "event",
            'notify("order-paid:…", {"amount": …})',
            lambda order: notify(payment_key(order.pk), {"amount": str(order.total)}),
        ),
        Move(
            "approve",
            "Approve the proof",
            "signal",
            'send_signal("order-…", "proof", {"approved": True})',
            lambda order: send_signal(order.run_id, "proof", {"approved": True}),
        ),
        Move(
            "refuse",
            "Send the proof back",
            "signal",
            'send_signal("order-…", "proof", {"approved": False})',
            lambda order: send_signal(order.run_id, "proof", {"approved": False}),
        ),
    )
}


@dataclass(frozen=True)
class Flow:
    """A run and its steps so far; without a row it was not started."""

    run: WorkflowRun | None
    steps: Sequence[StepExecution]

    @property
    def is_over(self) -> bool:
        return self.run is None or self.run.status not in OPEN

    @property
    def moves(self) -> list[str]:
        """The names of the buttons that make sense now."""
        if self.run is not None and self.is_over:
            return []
        waits = self.run.waits.partition(":")[0] if self.run else ""
        if self.run is not None and not waits:
            return []
        return [move.name for move in MOVES.values() if move.when == waits]


def flow_of(order: Order) -> Flow:
    run = WorkflowRun.objects.filter(run_id=order.run_id).first()
    return Flow(run, list(run.step_executions.order_by("pk")) if run else [])
