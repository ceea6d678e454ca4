"""What reaches a run from outside: signals to one, events for all that wait for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_qstash import clock, serialization
from django_qstash.exceptions import PublishError, WorkflowError
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.statements import raw
from django_qstash.tasks import send
from django_qstash.tasks.outbox import AfterCommit
from django_qstash.workflows import letters, persistence, rows
from django_qstash.workflows.models import OPEN, WorkflowEvent, WorkflowRun
from django_qstash.workflows.waiting import touch

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("django_qstash.workflows")


def deliver(run_id: str, name: str, data: Any, *, once: bool = False, size: int = 0) -> None:
    """Write an event for one run, and wake it if it waits for that. Raises WorkflowError.

    With ``once``, not if there is one of that name already, received or not. ``size``: bytes of the
    message that has brought it, which is the run's.
    """
    text = serialization.dumps(data, what="The signal's data")
    alias = rows.alias()
    with transaction.atomic(using=alias):
        # First of all: it locks the run, which is then either at work or asleep until the end.
        woken = rows.nudge([run_id], name, size=size)
        run = woken[0] if woken else _open(run_id)
        if once and WorkflowEvent.objects.using(alias).filter(run=run, name=name).exists():
            transaction.set_rollback(True, using=alias)
            return
        WorkflowEvent.objects.using(alias).create(
            run=run, name=name, data=raw(text), created_at=clock.now(), at=DatabaseClock()
        )
        rouse(woken)


def _open(run_id: str) -> WorkflowRun:
    run = rows.runs().filter(run_id=run_id).only("pk", "run_id", "status", "workflow_id").first()
    if run is None:
        raise persistence.missing(run_id)
    if run.status not in OPEN:
        raise WorkflowError(f"The run {run_id!r} is {run.status}; nothing can be sent to it.")
    found: WorkflowRun = run
    return found


def announce(key: str, data: Any) -> int:
    """Write an event for all, and wake the runs that wait for it; how many."""
    text = serialization.dumps(data, what="The event's data")
    alias, name = rows.alias(), f"event:{key}"
    with transaction.atomic(using=alias):
        touch(alias, key)
        WorkflowEvent.objects.using(alias).create(
            name=name, data=raw(text), created_at=clock.now(), at=DatabaseClock()
        )
        waiting = rows.runs().filter(waits=name).order_by("pk").values_list("run_id", flat=True)
        woken = rows.nudge(list(waiting), name)
        rouse(woken)
    return len(woken)


def rouse(woken: Sequence[WorkflowRun]) -> None:
    """Have the letters of these runs go out when the transaction commits."""
    if woken:
        after = AfterCommit(lambda: post_owed(woken))
        transaction.on_commit(after, using=rows.alias(), robust=True)


def post_owed(owing: Sequence[WorkflowRun]) -> None:
    """Publish letters that are owed; what QStash does not take now stays owed, for the sweep."""
    try:
        publish_owed(owing)
    except PublishError as error:
        ids = ", ".join(run.run_id for run in owing[:5])
        logger.warning("The letters of the runs %s are sent later: %s", ids, error)


def publish_owed(owing: Sequence[WorkflowRun]) -> None:
    """Publish letters that are owed. Raises :class:`PublishError`; what was not sent stays owed."""
    envelopes = []
    for run in owing:
        delay = letters.seconds_until(run.wake_at, clock.now())
        envelopes.append(letters.seal(letters.of_run(run), run.options, delay=delay))
    refused = None
    for run, receipt in zip(owing, _posted(envelopes), strict=False):
        if isinstance(receipt, PublishError):
            refused = refused or receipt
        else:
            settled(run)
    if refused is not None:
        raise refused


def _posted(envelopes: Sequence[Any]) -> Any:
    if len(envelopes) == 1:
        return [send.post(envelopes[0])]
    return send.post_many(envelopes)


def settled(run: WorkflowRun) -> None:
    """The letter that this row owed has been sent."""
    rows.runs().filter(pk=run.pk, owed=run.owed).update(owed=None)
