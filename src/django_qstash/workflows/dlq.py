"""Runs that failed for good: started again from the beginning, or from the step that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_qstash import clock
from django_qstash.exceptions import WorkflowError
from django_qstash.tasks.outbox import AfterCommit
from django_qstash.workflows import events, records, rows
from django_qstash.workflows.births import Birth, write
from django_qstash.workflows.definition import find_workflow
from django_qstash.workflows.handles import RunHandle
from django_qstash.workflows.history import Kind, Status
from django_qstash.workflows.models import (
    DeadLetterEntry,
    StepExecution,
    WorkflowEvent,
    WorkflowRun,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DeadLetterEntry", "replay", "resume"]


def replay(entry: DeadLetterEntry) -> RunHandle:
    """Start a new run with the dead one's input.

    Raises :class:`WorkflowError` if that was done before, :class:`UnknownWorkflowError` if the
    workflow is gone.
    """
    return _again(entry, lambda _run: None)


def resume(entry: DeadLetterEntry) -> RunHandle:
    """Start a new run that has what the dead one had done before the step that failed it.

    Failures that its body had caught are kept. Raises as :func:`replay`, and if the dead run's row
    is gone.
    """
    dead = rows.runs().filter(run_id=entry.run_id).first()
    if dead is None:
        raise WorkflowError(
            f"The run {entry.run_id!r} is not there any more; replay it from its start."
        )
    return _again(entry, lambda run: _copy(dead, run))


def _again(entry: DeadLetterEntry, prepare: Callable[[WorkflowRun], Any]) -> RunHandle:
    workflow = find_workflow(entry.workflow_id)
    alias = rows.alias()
    with transaction.atomic(using=alias):
        entries = DeadLetterEntry.objects.using(alias).filter(pk=entry.pk)
        # The condition is what makes a double click start one run.
        if not entries.filter(is_replayed=False).update(is_replayed=True, replayed_at=clock.now()):
            current = entries.first()
            said = current.replayed_as if current is not None else ""
            raise WorkflowError(f"The run {entry.run_id!r} was started again already as {said!r}.")
        dead = rows.runs().filter(run_id=entry.run_id).first()
        options = None if dead is None else dead.options
        run, _ = write(Birth(workflow=workflow, data=entry.payload, options=options))
        prepare(run)
        entries.update(replayed_as=run.run_id)
        after = AfterCommit(lambda: events.post_owed([run]))
        transaction.on_commit(after, using=alias, robust=True)
    entry.refresh_from_db(using=alias)
    return RunHandle(run.run_id)


def _copy(dead: WorkflowRun, run: WorkflowRun) -> None:
    """Give a new run the steps that were done, up to the one that failed the run."""
    alias = rows.alias()
    steps = list(records.steps(alias, dead).order_by("pk"))
    culprit = _culprit(steps, dead)
    done = [step for step in steps if _is_kept(step, culprit)]
    for step in done:
        step.pk = None
        step.workflow_run_id = run.pk
        step.awaited = False
        step.compute_seconds = step.database_seconds = None
    StepExecution.objects.using(alias).bulk_create(done, batch_size=500)
    # Not what tasks and calls have answered: those steps ask again.
    unread = WorkflowEvent.objects.using(alias).filter(
        run=dead, consumed_by=None, name__startswith="signal:"
    )
    for event in unread.order_by("pk"):
        event.pk, event.run_id = None, run.pk
        event.save(using=alias, force_insert=True)


def _culprit(steps: list[StepExecution], dead: WorkflowRun) -> StepExecution | None:
    """The step that failed the run; ``None`` where the body itself did."""
    failed = [step for step in steps if step.status == Status.FAILED]
    found = [step for step in failed if _is_named(step, dead)]
    return found[-1] if found else None


def _is_named(step: StepExecution, dead: WorkflowRun) -> bool:
    name = f"{step.step_id}#{step.occurrence}" if step.occurrence else step.step_id
    return name == dead.failed_step


def _is_kept(step: StepExecution, culprit: StepExecution | None) -> bool:
    """True for what the body had seen before it came to the step that failed the run.

    A failure that it had caught is kept as well: what it did about it is recorded, too.
    """
    if step.status not in Status.DONE or step.kind == Kind.ON_FAILURE:
        return False
    if culprit is None:
        return True
    if step.fan and step.fan == culprit.fan:
        # A fan's branches have their rows from its start. Of those that failed, the body would
        # have raised the first, unless it caught it.
        return step.status == Status.COMPLETED or step.pk < culprit.pk
    if step.kind == Kind.BRANCH and step.status == Status.FAILED:
        # One that failed later than a step after its start had nobody yet to catch it.
        return step.pk < culprit.pk and (culprit.fan != 0 or not _ended_before(culprit, step))
    # Between the start of a fan and its join the body goes on.
    return step.pk < culprit.pk or (culprit.fan != 0 and _ended_before(step, culprit))


def _ended_before(step: StepExecution, other: StepExecution) -> bool:
    ended, then = step.executed_at, other.executed_at
    return ended is not None and then is not None and ended < then
