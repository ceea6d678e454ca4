"""A task's letter that names a workflow: sent by a canvas or a schedule, it becomes a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from django_qstash import clock
from django_qstash.exceptions import InputValidationError, WorkerLostError
from django_qstash.messages import TaskMessage, WorkflowMessage
from django_qstash.sql.clock import DatabaseClock
from django_qstash.tasks import execute
from django_qstash.tasks.receive import is_over
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.workflows import births, ending, engine, letters, rows
from django_qstash.workflows.births import Birth
from django_qstash.workflows.models import FINAL, RunStatus, WorkflowRun
from django_qstash.workflows.trigger import options_of, origin_of

if TYPE_CHECKING:
    from django_qstash.workflows.definition import Workflow


def open_letter(
    workflow: Workflow,
    message: TaskMessage,
    delivery: Delivery,
    forced: execute.Outcome | None,
) -> Reply | execute.Outcome | None:
    """Make it a run and begin with it, in this very delivery.

    ``None`` where the letter is to be treated as a task's, an outcome where that is to be recorded
    in the run's place. Raises :class:`PublishError`.
    """
    run: WorkflowRun | None = rows.runs().filter(run_id=message.id).first()
    if forced is not None:
        return None if run is None else _fail(workflow, run, forced)
    if run is None:
        if is_over(message):
            return None
        try:
            data = workflow.bind_letter(message)
        except (TypeError, InputValidationError) as error:
            return execute.failure(error)
        run = _begin(workflow, message, data, len(delivery.body))
    if (run.origin or {}).get("run") != message.run:
        return Reply.done("stale", "another run has this id")
    return engine.advance(workflow, WorkflowMessage(workflow=workflow.name, id=run.run_id))


def is_open(run_id: str, heard_within: float | None) -> bool | None:
    """As :meth:`TaskStore.is_open`. A run that waits without a time is open until it is told."""
    columns = ("status", "wake_at", "created_at", "started_at", "left")
    left = F("lease_until") - DatabaseClock()
    run = rows.runs().filter(run_id=run_id).annotate(left=left).values(*columns).first()
    if run is None or run["status"] in FINAL:
        return None if run is None else False
    waits = run["status"] == RunStatus.WAITING and run["wake_at"] is None
    if heard_within is None or waits:
        return True
    moments = (run[name] for name in ("created_at", "started_at", "wake_at"))
    silence = clock.time() - max(each.timestamp() for each in moments if each)
    if run["left"] is not None:
        silence = min(silence, -run["left"] / 1000)
    return bool(silence < heard_within)


def _begin(workflow: Workflow, message: TaskMessage, data: object, size: int) -> WorkflowRun:
    birth = Birth(
        workflow=workflow,
        data=data,
        run_id=message.id,
        origin=origin_of(message),
        came_by=size,
        options=options_of(message),
    )
    # Its letter is the one that is being delivered: QStash repeats it until it is answered.
    return births.write(birth, owed=False)[0]


def _fail(workflow: Workflow, run: WorkflowRun, forced: execute.Outcome) -> Reply:
    if run.status in FINAL and not ending.tell(workflow, run):
        return Reply.again("what follows is not done yet", after=30)
    if run.status in FINAL or run.generation:
        return Reply.done("over")
    hold = rows.claim(letters.of_run(run))
    if hold is None:
        return Reply.again("somebody is at work on the run", after=30)
    error = forced.exception or WorkerLostError("It was given up.")
    if not ending.fail(workflow, hold, error):
        return Reply.again("what follows is not done yet", after=30)
    return Reply.done("failed")
