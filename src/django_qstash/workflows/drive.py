"""A run driven to its end by its own caller, through the same engine as every delivery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_qstash import clock
from django_qstash.exceptions import PublishError, RunTimeout
from django_qstash.workflows import persistence
from django_qstash.workflows.control import get_run
from django_qstash.workflows.definition import find_workflow
from django_qstash.workflows.handles import check_may_wait
from django_qstash.workflows.options import Duration, seconds_of

if TYPE_CHECKING:
    from django_qstash.workflows.models import WorkflowRun

logger = logging.getLogger("django_qstash.workflows")

#: Seconds between two looks at a run that waits for others.
LOOK = 0.1


def run_workflow(
    workflow: Any, data: Any = None, *, timeout: Duration | None = None, **options: Any
) -> Any:
    """Start a run, and do its steps here until it ends; its result.

    For scripts and tests: sleeps are slept through, and what it waits for from others (signals,
    children, parallel steps, tasks) is waited for. Its letters go out all the same, so that it goes
    on if this process dies. Takes the options of :meth:`Workflow.trigger`; ``timeout`` is a
    duration.

    Raises what :meth:`RunHandle.result` raises.
    """
    persistence.require("run_workflow")
    from django_qstash.workflows import engine, letters
    from django_qstash.workflows.children import failure_of

    check_may_wait()
    seconds = None if timeout is None else seconds_of("timeout", timeout)
    found = find_workflow(workflow)
    handle = found.trigger(data, **options)
    end = None if seconds is None else clock.time() + seconds
    while not (run := get_run(handle)).is_final:
        if end is not None and clock.time() >= end:
            raise RunTimeout(f"The run {handle!r} did not end within {seconds} s.", run_id=handle)
        pause = _pause(run)
        if pause > 0:
            clock.sleep(min(pause, LOOK if end is None else max(0.01, end - clock.time())))
            continue
        try:
            engine.advance(found, letters.of_run(run))
        except PublishError as error:
            logger.warning("What follows the run %s was not published: %s", handle, error)
    failure = failure_of(run, str(handle))
    if failure is not None:
        raise failure
    return run.result


def _pause(run: WorkflowRun) -> float:
    """Seconds until it makes sense to go on with the run; 0 for now."""
    from django_qstash.workflows import letters
    from django_qstash.workflows.models import RunStatus

    if run.status == RunStatus.RUNNING:
        return LOOK
    if run.wake_at is None:
        return 0 if run.status == RunStatus.PENDING else LOOK
    return min(LOOK, letters.seconds_until(run.wake_at, clock.now()))
