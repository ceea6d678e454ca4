"""What a run's end means for the task's letter that it came by: its result, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash import clock
from django_qstash.tasks.recording import as_record
from django_qstash.tasks.request import make_context
from django_qstash.tasks.store import get_store
from django_qstash.wire.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_qstash.messages import TaskMessage
    from django_qstash.tasks import execute
    from django_qstash.workflows.definition import Workflow


def settle(
    workflow: Workflow | None,
    message: TaskMessage,
    outcome: execute.Outcome,
    began: datetime | None = None,
) -> Sequence[Any]:
    """Write the TaskResult of a run if there are results; the letters that its end owes, as dicts.

    For ``AsyncResult(run_id)``, and for the chain, group or chord that the run came from. The run
    ``began`` now if that is not known.
    """
    store = get_store()
    record, _ = as_record(message, make_context(message, Delivery(body=b""), workflow), outcome)
    if store.durable:
        written = store.put(message, record, began or clock.now())
        if written is not None:
            return written.follow
    return record.follow
