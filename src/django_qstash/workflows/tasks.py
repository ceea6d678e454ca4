"""The tasks of workflows: what answers their errands, and what looks after their rows."""

from __future__ import annotations

from typing import Any

from django_qstash.exceptions import WorkflowError
from django_qstash.tasks.decorators import shared_task
from django_qstash.tasks.failure import exception_as_data
from django_qstash.tasks.request import current
from django_qstash.workflows import errands


@shared_task(name=errands.ARRIVED, ignore_result=True, internal=True)
def arrived(value: Any, run_id: str, name: str) -> None:
    """A task that a run waits for has returned ``value``."""
    _tell(run_id, name, {"value": value})


@shared_task(name=errands.WENT_WRONG, ignore_result=True, internal=True)
def went_wrong(request: Any, exc: BaseException, traceback: Any, run_id: str, name: str) -> None:  # noqa: ARG001
    """A task that a run waits for has failed with ``exc``."""
    _tell(run_id, name, {"error": exception_as_data(exc)})


def _tell(run_id: str, name: str, data: dict[str, Any]) -> None:
    from django_qstash.workflows.events import deliver

    call = current()
    letter = None if call is None else call[1].message
    size = 0 if letter is None else len(letter.encode())
    try:
        # A delivery that came twice has answered once.
        deliver(run_id, name, data, once=True, size=size)
    except WorkflowError:
        # It has ended, and waits for nothing any more.
        return


@shared_task(name="django_qstash.workflows.sweep", ignore_result=True)
def sweep() -> int:
    """Send the letters that are still owed; as ``manage.py workflows sweep``. How many."""
    from django_qstash.workflows.sweep import sweep as sweep_now

    return sweep_now()


@shared_task
def cleanup_workflows_task(
    days_old: float = 30, batch_size: int = 1000, include_running: bool = False
) -> dict[str, int]:
    """Remove what ended more than ``days_old`` days ago; as ``manage.py cleanup_workflows``."""
    from django_qstash.workflows.cleanup import cleanup

    removed = cleanup(days_old, batch_size=batch_size, include_running=include_running)
    return {
        "runs": removed.runs,
        "events": removed.events,
        "dead_letters": removed.dead_letters,
    }
