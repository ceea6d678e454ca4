"""Letters that were owed and never sent, and runs whose letter was lost: found and sent again."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.lease import lease_ms
from django_qstash.tasks import send
from django_qstash.workflows import ending, events, letters, rehearsal, rows
from django_qstash.workflows.definition import known
from django_qstash.workflows.history import Kind, Status
from django_qstash.workflows.models import OPEN, Closing, RunStatus, StepExecution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_qstash.workflows.models import WorkflowRun

logger = logging.getLogger("django_qstash.workflows")

#: Seconds that a letter may be owed before somebody else sends it.
PATIENCE = 60
#: Seconds after a lease or a wake time during which the ordinary letter may still come.
MARGIN = 60
#: Runs that one sweep looks at, of each kind.
LIMIT = 500

_next_by_traffic = 0.0


def by_traffic() -> None:
    """Once a minute in each process that is at work anyway: send what is owed for long."""
    global _next_by_traffic
    if rehearsal.stage is not None:
        # By the machine's clock, and so by no seed: what is left there is swept when all stands.
        return
    now = time.monotonic()
    if now < _next_by_traffic:
        return
    _next_by_traffic = now + PATIENCE
    try:
        _owed(LIMIT)
    except Exception:
        # Whoever came by is not to suffer for it.
        logger.exception("Letters that are owed could not be sent.")


def sweep() -> int:
    """Send again whatever should have come long ago; how many letters.

    Raises :class:`PublishError` when QStash cannot be reached: nothing is lost, and the next sweep
    goes on.
    """
    # In this order: a run whose letter is owed is overdue as well, and needs one letter.
    return _overdue(LIMIT) + _owed(LIMIT) + _branches(LIMIT) + _endings(LIMIT)


@contextmanager
def _by_itself(run: WorkflowRun) -> Iterator[None]:
    """What is wrong with one run, such as an address that QStash refuses, stops no other.

    Raises :class:`PublishError` where QStash cannot be reached, and ``DatabaseError``.
    """
    try:
        yield
    except DatabaseError:
        raise
    except Exception as error:
        if isinstance(error, PublishError) and not error.is_refusal:
            raise
        logger.exception("The run %s could not be swept; the others are.", run.run_id)


def _owed(limit: int) -> int:
    before = rows.stamp() - PATIENCE * 1000
    owing = list(rows.runs().filter(owed__lt=before, status__in=OPEN).order_by("owed")[:limit])
    try:
        if owing:
            events.publish_owed(owing)
    except PublishError as error:
        if not error.is_refusal:
            raise
    except ImproperlyConfigured:
        logger.debug("One of the letters that are owed cannot be sent.", exc_info=True)
    else:
        return len(owing)
    # Not those that were sent beside the one that was refused.
    left = rows.runs().filter(pk__in=[run.pk for run in owing], owed__isnull=False)
    for run in left.order_by("owed"):
        with _by_itself(run):
            events.publish_owed([run])
    return len(owing)


def _overdue(limit: int) -> int:
    """Runs that nobody is at work on, whose letter should have come."""
    late = timedelta(seconds=settings.DJANGO_QSTASH_LEASE + MARGIN)
    asleep = rows.runs().filter(status=RunStatus.WAITING, wake_at__lt=clock.now() - late, owed=None)
    dead = rows.runs().filter(
        status=RunStatus.RUNNING, lease_until__lt=DatabaseClock() - lease_ms() - MARGIN * 1000
    )
    dropped = rows.runs().filter(
        status=RunStatus.RUNNING, lease_token=None, started_at__lt=clock.now() - late
    )
    # The oldest first: what is always refused must not keep the others from their turn for ever.
    found = [
        *asleep.order_by("wake_at", "pk")[:limit],
        *dead.order_by("lease_until", "pk")[:limit],
        *dropped.order_by("pk")[:limit],
    ]
    for run in found:
        with _by_itself(run):
            # QStash may think that it has delivered the ordinary one.
            send.post(letters.seal(letters.of_run(run), run.options, fresh=True))
    return len(found)


def _branches(limit: int) -> int:
    late = timedelta(seconds=settings.DJANGO_QSTASH_LEASE + MARGIN)
    stuck = (
        StepExecution.objects.using(rows.alias())
        .filter(kind=Kind.BRANCH, workflow_run__status__in=OPEN)
        .exclude(status__in=Status.DONE)
        .exclude(lease_until__gte=DatabaseClock() - lease_ms() - MARGIN * 1000)
        .exclude(wake_at__gte=clock.now() - late)
        .exclude(workflow_run__started_at__gte=clock.now() - late)
        .select_related("workflow_run")
    )
    found = list(stuck.order_by("pk")[:limit])
    for row in found:
        run = row.workflow_run
        with _by_itself(run):
            letter = letters.of_branch(run, row)
            send.post(letters.seal(letter, run.options, fresh=True, limit=row.limit))
    return len(found)


def _endings(limit: int) -> int:
    late = clock.now() - timedelta(seconds=settings.DJANGO_QSTASH_LEASE + MARGIN)
    closing = rows.runs().exclude(closing=Closing.NOTHING).filter(completed_at__lt=late)
    found = list(closing.order_by("pk")[:limit])
    for run in found:
        with _by_itself(run):
            ending.tell(known(run.workflow_id), run)
    return len(found)
