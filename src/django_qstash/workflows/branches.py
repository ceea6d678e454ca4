"""Steps beside the body: a letter each, claimed, tried again and recorded on their own rows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F, Q

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import LeaseLost, Unavailable, WorkerLostError
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.lease import free, lease_ms
from django_qstash.tasks import send
from django_qstash.tasks.renewal import kept
from django_qstash.tasks.transient import is_transient
from django_qstash.wire.delivery import Reply
from django_qstash.workflows import (
    events,
    failures,
    held,
    letters,
    observe,
    records,
    rehearsal,
    rows,
)
from django_qstash.workflows.definition import known
from django_qstash.workflows.entries import later
from django_qstash.workflows.held import Held
from django_qstash.workflows.history import Entry, Key, Kind, Status
from django_qstash.workflows.invoke import value_of_call
from django_qstash.workflows.models import FINAL, RunStatus, StepExecution, WorkflowRun
from django_qstash.workflows.search import find
from django_qstash.workflows.usage import TIMES, adding, sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_qstash.messages import WorkflowMessage
    from django_qstash.wire.envelope import Envelope
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.definition import Workflow


@dataclass(slots=True, eq=False, kw_only=True)
class Branch(Held[StepExecution]):
    """A branch that is claimed."""

    run: WorkflowRun

    @property
    def key(self) -> Key:
        return Key(self.row.step_id, self.row.occurrence)

    def release(self) -> None:
        """Give it back as it was, so that the next delivery need not wait."""
        self.mine().update(
            lease_token=None, lease_until=None, deliveries=F("deliveries") - 1, **self.used()
        )

    def used(self) -> dict[str, float]:
        """The times of its row, with those of this delivery: nobody else writes them meanwhile."""
        used = self.meter.times()
        return {name: (getattr(self.row, name) or 0) + used.get(name, 0) for name in TIMES}


def receive(workflow: Workflow, message: WorkflowMessage) -> Reply:
    """Run one branch, or say why not. Raises :class:`PublishError`."""
    run = rows.runs().filter(run_id=message.id).first()
    if run is None:
        return Reply.again("the run is not there yet")
    if run.status in FINAL:
        return Reply.done("over", f"the run is {run.status}")
    branch = _claim(run, message)
    if branch is None:
        return _stand(run, message)
    if branch.row.deliveries > settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS:
        lost = WorkerLostError(
            f"The process died {branch.row.deliveries - 1} times while this step ran."
        )
        return _fail(branch, lost, branch.row.attempts + 1)
    try:
        with kept(branch, message, branch.token), branch.meter.running():
            return _work(workflow, branch)
    except LeaseLost:
        return _stand(run, message)
    except Unavailable as error:
        branch.release()
        return Reply.again(f"the database was in the way: {error}")


def give_up(message: WorkflowMessage, lost: Exception) -> Reply:
    """QStash will not deliver this branch again. Raises :class:`PublishError`."""
    run = rows.runs().filter(run_id=message.id).first()
    if run is None or run.status in FINAL:
        return Reply.done("over")
    branch = _claim(run, message)
    if branch is None:
        return _stand(run, message)
    return _fail(branch, lost, message.retries + 1)


def _claim(run: WorkflowRun, message: WorkflowMessage) -> Branch | None:
    token, alias = secrets.token_hex(16), rows.alias()
    steps = records.steps(alias, run).filter(
        step_id=message.step, occurrence=message.occurrence, kind=Kind.BRANCH
    )
    due = Q(wake_at=None) | Q(wake_at__lte=clock.now() + timedelta(seconds=rows.EARLY))
    taken = (
        free(steps)
        .filter(due, attempts=message.retries)
        .exclude(status__in=Status.DONE)
        .update(
            status=Status.RUNNING,
            lease_token=token,
            lease_until=DatabaseClock() + lease_ms(),
            deliveries=F("deliveries") + 1,
            started_at=clock.now(),
        )
    )
    row = steps.filter(lease_token=token).first() if taken else None
    return None if row is None else Branch(run=run, row=row, token=token, alias=alias)


def _stand(run: WorkflowRun, message: WorkflowMessage) -> Reply:
    """What to answer for a branch that cannot be claimed. Raises :class:`PublishError`."""
    steps = records.steps(rows.alias(), run)
    row = held.looked_at(steps.filter(step_id=message.step, occurrence=message.occurrence))
    if row is None:
        return Reply.again("the step is not there yet")
    if row.status in Status.DONE or row.attempts > message.retries:
        if row.status == Status.RETRYING and row.attempts == message.retries + 1:
            delay = letters.seconds_until(row.wake_at, clock.now())
            send.post(_next(run, row, delay))
        elif row.status in Status.DONE:
            _wake_owed(run)
        return Reply.done("recorded")
    letters.post_copy(message, run, max(1, held.wait_for(row)), row.limit)
    return Reply.done("busy", "a copy comes later")


def _next(run: WorkflowRun, row: StepExecution, delay: float) -> Envelope:
    """The letter of the next attempt."""
    letter = letters.of_branch(run, row)
    return letters.seal(letter, run.options, delay=delay, limit=row.limit)


def _wake_owed(run: WorkflowRun) -> None:
    """The branch's end may have died before the run's letter was sent. Raises PublishError."""
    owing = rows.runs().filter(pk=run.pk, owed__isnull=False).first()
    if owing is not None:
        events.publish_owed([owing])


# --- its work -------------------------------------------------------------------------------------


def _work(workflow: Workflow, branch: Branch) -> Reply:
    number = branch.row.attempts + 1
    try:
        ask = find(branch.alias, workflow, branch.run, branch.row)
    except Exception as error:  # the body's own, on the way to the branch
        if is_transient(error):
            raise Unavailable(str(error)) from error
        return _fail(branch, error, number)
    if rehearsal.stage is not None:
        rehearsal.stage.branch(branch.run, branch.key, ask)
    policy = ask.options.policy or workflow.policy
    try:
        if ask.options.atomic:
            return _work_atomically(branch, ask, number)
        text = value_of_call(ask, ask.context)
    except Exception as error:
        if is_transient(error):
            raise Unavailable(str(error)) from error
        pause = policy.next_attempt(error, number)
        return _fail(branch, error, number) if pause is None else _retry(branch, error, pause)
    return _end(branch, _completed(text, number))


def _work_atomically(branch: Branch, ask: Ask, number: int) -> Reply:
    with branch.fenced():
        entry = _completed(value_of_call(ask, ask.context), number)
        woken = _write_end(branch, entry)
    return _ended(branch, entry, woken)


def _completed(text: str, number: int) -> Entry:
    return Entry(kind=Kind.BRANCH, status=Status.COMPLETED, result=text, attempts=number)


def _retry(branch: Branch, error: Exception, pause: float) -> Reply:
    row = branch.row
    number = row.attempts + 1
    entry = Entry(
        kind=Kind.BRANCH,
        status=Status.RETRYING,
        attempts=number,
        error=failures.of_step(str(branch.key), number, error),
        wake_at=later(pause).timestamp(),
        pk=row.pk,
    )
    if not records.update(branch.alias, entry, token=branch.token, used=branch.used()):
        raise LeaseLost
    _tell(branch, entry)
    # What died in this attempt does not count against the next one.
    given_back = records.steps(branch.alias, branch.run).filter(pk=row.pk, lease_token=None)
    given_back.filter(attempts=number).update(deliveries=0)
    row.attempts = number
    envelope = _next(branch.run, row, pause)
    rows.runs().filter(pk=branch.run.pk).update(**adding(sent(envelope)))
    send.post(envelope)
    return Reply.done("retry")


def _fail(branch: Branch, error: BaseException, number: int) -> Reply:
    data = failures.of_step(str(branch.key), number, error)
    return _end(branch, Entry(kind=Kind.BRANCH, status=Status.FAILED, error=data, attempts=number))


# --- its end --------------------------------------------------------------------------------------


def _end(branch: Branch, entry: Entry) -> Reply:
    with transaction.atomic(using=branch.alias):
        woken = _write_end(branch, entry)
    return _ended(branch, entry, woken)


def _write_end(branch: Branch, entry: Entry) -> list[WorkflowRun]:
    """Record the branch and count it; the run, if it was the last that it waits for."""
    entry.pk = branch.row.pk
    used = branch.used()
    now = clock.now()
    if not records.update(branch.alias, entry, executed_at=now, token=branch.token, used=used):
        raise LeaseLost
    # Read after the write: whoever wants to wait for it writes this row, too.
    if not records.steps(branch.alias, branch.run).filter(pk=entry.pk, awaited=True).exists():
        return []
    runs = rows.runs().filter(pk=branch.run.pk, status=RunStatus.WAITING, waits="branches")
    if not runs.filter(branches__gt=0).update(branches=F("branches") - 1):
        return []
    run = rows.runs().get(pk=branch.run.pk)
    if run.branches:
        return []
    rows.rouse(run)
    return [run]


def _ended(branch: Branch, entry: Entry, woken: Sequence[WorkflowRun]) -> Reply:
    _tell(branch, entry)
    if woken:
        # Raised: the redelivery finds what is owed.
        events.publish_owed(woken)
    return Reply.done("step")


def _tell(branch: Branch, entry: Entry) -> None:
    workflow = known(branch.run.workflow_id)
    if workflow is not None:
        observe.stepped(workflow, branch.run.run_id, branch.key, entry)
    if rehearsal.stage is not None:
        rehearsal.stage.branched(branch.run, branch.key, entry)
