"""Telling of runs: Django signals for programs, and with ``verbose`` log entries for people.

The entries have Upstash Workflow's shape and words: ``{timestamp, workflowRunId, logLevel,
eventType, details}``, one JSON object a line, on the logger ``django_qstash.workflows.verbose``.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.workflows import signals
from django_qstash.workflows.history import Kind, Status

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task
    from django_qstash.workflows.history import Entry, Key

logger = logging.getLogger("django_qstash.workflows.verbose")

ENDPOINT_START = "ENDPOINT_START"
RUN_SINGLE = "RUN_SINGLE"
RUN_PARALLEL = "RUN_PARALLEL"
SUBMIT_STEP = "SUBMIT_STEP"
SUBMIT_FIRST_INVOCATION = "SUBMIT_FIRST_INVOCATION"
SUBMIT_CLEANUP = "SUBMIT_CLEANUP"
SUBMIT_THIRD_PARTY_RESULT = "SUBMIT_THIRD_PARTY_RESULT"


#: What tells that a step has come to this.
_ABOUT_STEPS = {
    Status.COMPLETED: signals.step_completed,
    Status.FAILED: signals.step_failed,
    Status.RETRYING: signals.step_retried,
}


def is_verbose(workflow: Task[..., Any] | None) -> bool:
    """True if the workflow, or else the setting, asks for entries."""
    own: bool | None = getattr(workflow, "verbose", None)
    return settings.DJANGO_QSTASH_WORKFLOW_VERBOSE if own is None else own


def log(
    workflow: Task[..., Any] | None, run_id: str, event: str, level: str = "INFO", **details: Any
) -> None:
    """Write an entry, if the workflow or the setting asks for them."""
    if not is_verbose(workflow):
        return
    entry = {
        "timestamp": int(clock.time() * 1000),
        "workflowRunId": run_id,
        "logLevel": level,
        "eventType": event,
        "details": {name: value for name, value in details.items() if value is not None},
    }
    logger.log(logging.getLevelName(level), json.dumps(entry, default=str))


def begun(workflow: Task[..., Any], run: Any, steps: int) -> None:
    """A delivery goes on with a run that has so many steps recorded."""
    if run.generation == 0 and not steps and run.attempts <= 1:
        signals.run_started.emit(workflow, run_id=run.run_id, data=run.data)
    log(
        workflow,
        run.run_id,
        ENDPOINT_START,
        name=run.workflow_id,
        generation=run.generation,
        steps=steps,
    )


def suspended(workflow: Task[..., Any], run_id: str, waits: str, wake_at: datetime | None) -> None:
    signals.run_suspended.emit(workflow, run_id=run_id, waits_for=waits, wake_at=wake_at)
    log(workflow, run_id, SUBMIT_STEP, waitsFor=waits or None, wakeAt=wake_at)


def stepped(
    workflow: Task[..., Any], run_id: str, key: Key, entry: Entry, verbose: bool | None = None
) -> None:
    """A step is recorded as done, or to be tried again.

    ``verbose`` is for who knows already whether entries are asked for.
    """
    signal = _ABOUT_STEPS[entry.status]
    if not (signal.receivers or (is_verbose(workflow) if verbose is None else verbose)):
        return
    told: dict[str, Any] = {
        "run_id": run_id,
        "step_id": key.step_id,
        "occurrence": key.occurrence,
        "kind": entry.kind,
        "attempts": entry.attempts,
    }
    error = None if entry.error is None else entry.error.get("message")
    if entry.status != Status.COMPLETED:
        told["error"] = error
    if entry.status == Status.RETRYING:
        told["wake_at"] = entry.wake_at
    signal.emit(workflow, **told)
    event = RUN_PARALLEL if entry.kind == Kind.BRANCH else RUN_SINGLE
    level = "INFO" if entry.status == Status.COMPLETED else "WARNING"
    log(
        workflow,
        run_id,
        event,
        level,
        step=str(key),
        kind=entry.kind,
        status=entry.status,
        attempts=entry.attempts,
        error=error,
    )


def ended(workflow: Task[..., Any] | None, run: Any, outcome: Any) -> None:
    """A run has got its last status."""
    if workflow is not None:
        if run.status == "completed":
            signals.run_completed.emit(workflow, run_id=run.run_id, result=outcome.value)
        elif run.status == "failed":
            signals.run_failed.emit(workflow, run_id=run.run_id, error=outcome.exception)
        else:
            reason = str(outcome.exception or "")
            signals.run_canceled.emit(workflow, run_id=run.run_id, reason=reason)
    level = "ERROR" if run.status == "failed" else "INFO"
    log(workflow, run.run_id, SUBMIT_CLEANUP, level, status=run.status)
