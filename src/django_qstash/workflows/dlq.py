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
    """Start a new run that has what the dead one had done before the step that failed.

    Raises as :func:`replay`, and if the dead run's row is gone.
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
    done = [step for step in steps if _is_kept(step, steps, dead)]
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


def _is_kept(step: StepExecution, steps: list[StepExecution], dead: WorkflowRun) -> bool:
    if step.status != Status.COMPLETED or step.kind == Kind.ON_FAILURE:
        return False
    failed = [each for each in steps if each.status == Status.FAILED and _named(each, dead)]
    if not failed:
        return True
    last = failed[-1]
    return step.pk < last.pk or (step.fan != 0 and step.fan == last.fan)


def _named(step: StepExecution, dead: WorkflowRun) -> bool:
    name = f"{step.step_id}#{step.occurrence}" if step.occurrence else step.step_id
    return name == dead.failed_step
