"""Removing runs, events and dead letters that nobody will ask for any more."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Min, Q

from django_qstash import clock
from django_qstash.exceptions import WorkflowError
from django_qstash.workflows import rows
from django_qstash.workflows.control import cancel_workflow
from django_qstash.workflows.models import (
    FINAL,
    OPEN,
    Closing,
    DeadLetterEntry,
    StepExecution,
    Topic,
    Watcher,
    WorkflowEvent,
    WorkflowRun,
)

BATCH = 1000


@dataclass(slots=True)
class Removed:
    """How many of each were removed, or would be."""

    runs: int = 0
    events: int = 0
    dead_letters: int = 0


def cleanup(
    days_old: float = 30,
    *,
    dry_run: bool = False,
    batch_size: int = BATCH,
    runs: bool = True,
    dead_letters: bool = True,
    include_running: bool = False,
) -> Removed:
    """Remove what ended more than ``days_old`` days ago; what was removed.

    Runs go by the time they ended at, with their steps and signals; one whose parent is still open
    stays with it. Shared events go once no open run is old enough to receive them. Dead letters go
    by the time of the failure, replayed or not. With ``include_running``, runs that began before
    that time and are not due any more are canceled, and removed.

    A removed run's id and idempotency key are free again. Works in batches, each in a transaction
    of its own. Raises ``ValueError`` for numbers that make no sense.
    """
    if days_old < 0:
        raise ValueError(f"days_old={days_old!r} must be zero or more.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be at least 1.")
    before = clock.now() - timedelta(days=days_old)
    removed = Removed()
    if runs:
        removed.runs = _finished(before, dry_run, batch_size)
        if include_running:
            removed.runs += _abandoned(before, dry_run, batch_size)
        removed.events = _shared_events(before, dry_run, batch_size)
    if dead_letters:
        found = DeadLetterEntry.objects.using(rows.alias()).filter(created_at__lt=before)
        removed.dead_letters = _delete(found, dry_run, batch_size)
    return removed


#: What a run that is removed while it is open is canceled for.
REASON = "abandoned, and removed by cleanup_workflows"


def _finished(before: datetime, dry_run: bool, batch_size: int) -> int:
    found = _over().filter(completed_at__lt=before)
    return int(found.count()) if dry_run else _delete_runs(found, batch_size)


def _abandoned(before: datetime, dry_run: bool, batch_size: int) -> int:
    """Open runs that began before, and that no later time will wake: canceled, and removed."""
    due = Q(wake_at=None) | Q(wake_at__lt=before)
    found = rows.runs().filter(due, status__in=OPEN, created_at__lt=before)
    if dry_run:
        return int(found.count())
    count = 0
    while batch := dict(found.order_by("pk").values_list("pk", "run_id")[:batch_size]):
        for run_id in batch.values():
            # With all that its end brings about: children, waiting parents, results.
            with suppress(WorkflowError):
                cancel_workflow(run_id, REASON)
        count += _delete_runs(_over().filter(pk__in=list(batch)), batch_size)
    return count


def _over() -> Any:
    """Runs that nobody needs: they owe no ``on_failure``, and no open parent asks for them."""
    ended = rows.runs().filter(status__in=FINAL, closing=Closing.NOTHING)
    return ended.exclude(parent__status__in=OPEN)


def _delete_runs(found: Any, batch_size: int) -> int:
    alias, count = rows.alias(), 0
    while ids := list(found.order_by("pk").values_list("pk", flat=True)[:batch_size]):
        with transaction.atomic(using=alias):
            # Runs before their steps, as everywhere; and what points at them before them.
            rows.runs().filter(parent__in=ids).update(parent=None)
            watchers = Watcher.objects.using(alias)
            watchers.filter(Q(run__in=ids) | Q(waiter__in=ids)).delete()
            WorkflowEvent.objects.using(alias).filter(run__in=ids).delete()
            StepExecution.objects.using(alias).filter(workflow_run__in=ids).delete()
            WorkflowRun.objects.using(alias).filter(pk__in=ids).delete()
        count += len(ids)
    return count


def _shared_events(before: datetime, dry_run: bool, batch_size: int) -> int:
    alias = rows.alias()
    found = WorkflowEvent.objects.using(alias).filter(run=None, created_at__lt=before)
    oldest = rows.runs().filter(status__in=OPEN).aggregate(born=Min("born"))["born"]
    if oldest is not None:
        # It may still ask for what was sent since it began.
        found = found.filter(at__lt=oldest)
    count = _delete(found, dry_run, batch_size)
    _delete(Topic.objects.using(alias).filter(touched_at__lt=before), dry_run, batch_size)
    return count


def _delete(found: Any, dry_run: bool, batch_size: int) -> int:
    if dry_run:
        return int(found.count())
    count = 0
    while ids := list(found.order_by("pk").values_list("pk", flat=True)[:batch_size]):
        # The condition again: a topic may have been touched in the meantime.
        found.filter(pk__in=ids).delete()
        count += len(ids)
    return count
