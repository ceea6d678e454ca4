"""Steps beside the body: a letter each, claimed on their own rows, joined by a count."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Q

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import (
    Interrupt,
    LeaseLost,
    NonDeterminismError,
    Unavailable,
    WorkerLostError,
)
from django_qstash.messages import WorkflowMessage
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.lease import free, lease_ms
from django_qstash.tasks import send
from django_qstash.tasks.receive import MARGIN
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.renewal import kept
from django_qstash.tasks.transient import is_transient
from django_qstash.wire.delivery import Reply
from django_qstash.workflows import events, failures, letters, observe, records, rows
from django_qstash.workflows.entries import later
from django_qstash.workflows.history import Entry, History, Key, Kind, Status
from django_qstash.workflows.invoke import value_of_call
from django_qstash.workflows.models import FINAL, RunStatus, StepExecution, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_qstash.wire.envelope import Envelope
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.turn import Turn


# --- the body's side ------------------------------------------------------------------------------


def begin(turn: Turn, branches: Sequence[tuple[Ask, Key]]) -> None:
    """Write the rows of branches, and publish a letter for each. Raises PublishError."""
    fan = turn.history.last_fan() + 1
    run = turn.hold.run
    # The count says until the run is put down that these letters may not have been sent.
    with turn.hold.fenced(branches=len(branches)):
        StepExecution.objects.using(turn.alias).bulk_create(
            [
                StepExecution(
                    workflow_run_id=run.pk,
                    step_id=key.step_id,
                    occurrence=key.occurrence,
                    kind=ask.kind,
                    status=Status.PENDING,
                    input_hash=ask.input_hash,
                    fan=fan,
                    limit=ask.limit,
                )
                for ask, key in branches
            ],
            batch_size=500,
        )
        turn.hold.mine().update(messages=F("messages") + len(branches))
    for ask, key in branches:
        entry = Entry(kind=ask.kind, status=Status.PENDING, input_hash=ask.input_hash, fan=fan)
        turn.history.put(key, entry)
    letters.post_all([_letter(run, key, 0, ask.limit) for ask, key in branches])


def republish(run: WorkflowRun) -> int:
    """Publish the letters of branches that nobody has begun. Raises :class:`PublishError`."""
    pending = records.steps(rows.alias(), run).filter(
        kind=Kind.BRANCH, status=Status.PENDING, deliveries=0
    )
    envelopes = [
        _letter(run, Key(step_id, occurrence), 0, limit)
        for step_id, occurrence, limit in pending.values_list("step_id", "occurrence", "limit")
    ]
    if envelopes:
        letters.post_all(envelopes)
    return len(envelopes)


def join(turn: Turn, keys: Sequence[Key]) -> None:
    """Have the history know how these branches ended, or wait until they have."""
    run, alias = turn.hold.run, turn.alias
    while True:
        turn.history.entries.update(_ended(turn, keys))
        if all(turn.history.entries[key].is_done for key in keys):
            return
        fans = {turn.history.entries[key].fan for key in keys}
        wanted = set(keys)
        whole = all(
            key in wanted for key, entry in turn.history.entries.items() if entry.fan in fans
        )
        undone = records.steps(alias, run).exclude(status__in=Status.DONE)
        undone = undone.filter(fan__in=fans) if whole else undone.filter(_named(keys))
        mark = _Mark(records.steps(alias, run), undone)
        turn.suspend(waits="branches", branches=mark.counted, before=mark)


@dataclass(slots=True)
class _Mark:
    """Says on the rows of branches that the run waits for them, and counts those."""

    all: Any
    undone: Any
    count: int = 0

    def __call__(self) -> bool:
        # Each branch's row before the run's: their ends take them in the same order.
        self.all.filter(awaited=True).update(awaited=False)
        self.count = self.undone.update(awaited=True)
        return self.count > 0

    def counted(self) -> int:
        return self.count


def _ended(turn: Turn, keys: Sequence[Key]) -> dict[Key, Entry]:
    open_keys = [key for key in keys if not turn.history.entries[key].is_done]
    fans = {turn.history.entries[key].fan for key in open_keys}
    done = records.steps(turn.alias, turn.hold.run).filter(fan__in=fans, status__in=Status.DONE)
    wanted = set(open_keys)
    return {
        Key(row[0], row[1]): records.entry_of(row)
        for row in done.values_list(*records.COLUMNS)
        if Key(row[0], row[1]) in wanted
    }


def _named(keys: Sequence[Key]) -> Q:
    named = Q()
    for key in keys:
        named |= Q(step_id=key.step_id, occurrence=key.occurrence)
    return named


def _letter(
    run: WorkflowRun, key: Key, number: int, limit: int | None, *, delay: float = 0
) -> Envelope:
    message = WorkflowMessage(
        workflow=run.workflow_id,
        id=run.run_id,
        step=key.step_id,
        occurrence=key.occurrence,
        retries=number,
    )
    return letters.seal(message, run.options, delay=delay, limit=limit)


def letter_of(row: StepExecution) -> Envelope:
    """A fresh letter for a branch whose own was lost."""
    message = WorkflowMessage(
        workflow=row.workflow_run.workflow_id,
        id=row.workflow_run.run_id,
        step=row.step_id,
        occurrence=row.occurrence,
        retries=row.attempts,
    )
    return letters.seal(message, row.workflow_run.options, fresh=True, limit=row.limit)


# --- the branch's side ----------------------------------------------------------------------------


class Found(Interrupt):
    """The body has come to where this branch was started."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        super().__init__(ask.step_id)


@dataclass(slots=True, eq=False)
class Search:
    """The :class:`Host` of a branch: it replays the body up to the branch's start."""

    history: History
    key: Key
    asked: list[Key] = field(default_factory=list)

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:  # noqa: ARG002
        raise NonDeterminismError(
            f"On the way to the parallel step {str(self.key)!r} the code now asks for "
            f"{str(key)!r}, which was not there when it was started."
        )

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:
        """Others of its fan, which are not read."""

    def join(self, keys: Sequence[Key]) -> None:
        self.perform(None, keys[0], None)  # type: ignore[arg-type]

    def reached(self, ask: Ask, key: Key) -> None:
        if key == self.key:
            raise Found(ask)


@dataclass(slots=True, eq=False)
class Branch:
    """A branch that is claimed."""

    run: WorkflowRun
    row: StepExecution
    token: str
    alias: str = field(default_factory=rows.alias)
    in_transaction: bool = False

    @property
    def key(self) -> Key:
        return Key(self.row.step_id, self.row.occurrence)

    def mine(self) -> Any:
        return StepExecution.objects.using(self.alias).filter(
            pk=self.row.pk, lease_token=self.token
        )

    def renew(self, message: Any = None, token: str = "") -> bool:  # noqa: ARG002 - the keeper's
        if self.in_transaction:
            return True
        return bool(self.mine().update(lease_until=DatabaseClock() + lease_ms()))

    def can_renew_within(self, *, atomic: bool) -> bool:  # noqa: ARG002
        return True

    def release(self) -> None:
        self.mine().update(lease_token=None, lease_until=None, deliveries=F("deliveries") - 1)


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
        with kept(branch, message, branch.token):
            return _work(workflow, branch)
    except LeaseLost:
        return _stand(run, message)
    except Unavailable as error:
        branch.release()
        return Reply.again(f"the database was in the way: {error}")


def _claim(run: WorkflowRun, message: WorkflowMessage) -> Branch | None:
    token = secrets.token_hex(16)
    steps = records.steps(rows.alias(), run).filter(
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
    return None if row is None else Branch(run, row, token)


def _stand(run: WorkflowRun, message: WorkflowMessage) -> Reply:
    """What to answer for a branch that cannot be claimed. Raises :class:`PublishError`."""
    row = (
        records.steps(rows.alias(), run)
        .filter(step_id=message.step, occurrence=message.occurrence)
        .annotate(left=F("lease_until") - DatabaseClock())
        .first()
    )
    if row is None:
        return Reply.again("the step is not there yet")
    key = Key(row.step_id, row.occurrence)
    if row.status in Status.DONE or row.attempts > message.retries:
        if row.status == Status.RETRYING and row.attempts == message.retries + 1:
            delay = letters.seconds_until(row.wake_at, clock.now())
            send.post(_letter(run, key, row.attempts, row.limit, delay=delay))
        elif row.status in Status.DONE:
            _wake_owed(run)
        return Reply.done("recorded")
    held = 0.0 if row.lease_token is None else max(0.0, float(row.left or 0) / 1000) + MARGIN
    wait = max(held, letters.seconds_until(row.wake_at, clock.now()))
    copy = message.but(p=message.p + 1)
    send.post(letters.seal(copy, run.options, delay=max(1, wait), fresh=True, limit=row.limit))
    return Reply.done("busy", "a copy comes later")


def _wake_owed(run: WorkflowRun) -> None:
    """The branch's end may have died before the run's letter was sent. Raises PublishError."""
    owing = rows.runs().filter(pk=run.pk, owed__isnull=False).first()
    if owing is not None:
        events.publish_owed([owing])


def _work(workflow: Workflow, branch: Branch) -> Reply:
    try:
        ask = _find(workflow, branch)
    except Exception as error:  # the body's own, on the way to the branch
        if is_transient(error):
            raise Unavailable(str(error)) from error
        return _fail(branch, error, branch.row.attempts + 1)
    policy = ask.options.policy or workflow.policy
    number = branch.row.attempts + 1
    try:
        if ask.options.atomic:
            return _work_atomically(branch, ask, number)
        text = value_of_call(ask, ask.context)
    except Exception as error:
        if is_transient(error):
            raise Unavailable(str(error)) from error
        pause = policy.next_attempt(error, number)
        return _fail(branch, error, number) if pause is None else _retry(branch, error, pause)
    return _end(
        branch, Entry(kind=Kind.BRANCH, status=Status.COMPLETED, result=text, attempts=number)
    )


def _work_atomically(branch: Branch, ask: Ask, number: int) -> Reply:
    with transaction.atomic(using=branch.alias):
        if not branch.renew():
            raise LeaseLost
        branch.in_transaction = True
        try:
            text = value_of_call(ask, ask.context)
            entry = Entry(kind=Kind.BRANCH, status=Status.COMPLETED, result=text, attempts=number)
            woken = _write_end(branch, entry)
        finally:
            branch.in_transaction = False
    _tell(branch, entry)
    return _ended_reply(woken)


def _find(workflow: Workflow, branch: Branch) -> Ask:
    """What the branch is to call: its arguments are in the body, not in the row."""
    from django_qstash.workflows.engine import make_context
    from django_qstash.workflows.replay import replay

    entry = Entry(kind=Kind.BRANCH, status=Status.RUNNING, fan=branch.row.fan, pk=branch.row.pk)
    search = Search(records.read(branch.alias, branch.run, branch=entry), branch.key)
    context = make_context(workflow, branch.run, search)
    args, kwargs = workflow.input.arguments(context.data)
    try:
        ended = replay(workflow.function, context, args, kwargs)
    except Found as found:
        found.ask.context = context
        return found.ask
    raise ended.error or NonDeterminismError(
        f"The code does not come to the parallel step {str(branch.key)!r} any more."
    )


def _tell(branch: Branch, entry: Entry) -> None:
    workflow = tasks.get(branch.run.workflow_id)
    if workflow is not None:
        observe.stepped(workflow, branch.run.run_id, branch.key, entry)


def _retry(branch: Branch, error: Exception, pause: float) -> Reply:
    number = branch.row.attempts + 1
    entry = Entry(
        kind=Kind.BRANCH,
        status=Status.RETRYING,
        attempts=number,
        error=failures.of_step(str(branch.key), number, error),
        wake_at=later(pause).timestamp(),
        pk=branch.row.pk,
    )
    if not records.update(branch.alias, entry, token=branch.token):
        raise LeaseLost
    _tell(branch, entry)
    # What died in this attempt does not count against the next one.
    StepExecution.objects.using(branch.alias).filter(pk=branch.row.pk, attempts=number).filter(
        lease_token=None
    ).update(deliveries=0)
    rows.runs().filter(pk=branch.run.pk).update(messages=F("messages") + 1)
    send.post(_letter(branch.run, branch.key, number, branch.row.limit, delay=pause))
    return Reply.done("retry")


def _fail(branch: Branch, error: BaseException, number: int) -> Reply:
    data = failures.of_step(str(branch.key), number, error)
    return _end(branch, Entry(kind=Kind.BRANCH, status=Status.FAILED, error=data, attempts=number))


def _end(branch: Branch, entry: Entry) -> Reply:
    with transaction.atomic(using=branch.alias):
        woken = _write_end(branch, entry)
    _tell(branch, entry)
    return _ended_reply(woken)


def _ended_reply(woken: Sequence[WorkflowRun]) -> Reply:
    if woken:
        # Raised: the redelivery finds what is owed.
        events.publish_owed(woken)
    return Reply.done("step")


def _write_end(branch: Branch, entry: Entry) -> list[WorkflowRun]:
    """Record the branch and count it; the run, if it was the last that it waits for."""
    entry.pk = branch.row.pk
    if not records.update(branch.alias, entry, executed_at=clock.now(), token=branch.token):
        raise LeaseLost
    # Read after the write: whoever wants to wait for it writes this row, too.
    waited = StepExecution.objects.using(branch.alias).filter(pk=branch.row.pk, awaited=True)
    if not waited.exists():
        return []
    runs = rows.runs().filter(pk=branch.run.pk, status=RunStatus.WAITING, waits="branches")
    runs.filter(branches__gt=0).update(branches=F("branches") - 1)
    if not runs.filter(branches=0).update(**rows.roused()):
        return []
    return [rows.runs().get(pk=branch.run.pk)]


def give_up(message: WorkflowMessage, lost: Exception) -> Reply:
    """QStash will not deliver this branch again. Raises :class:`PublishError`."""
    run = rows.runs().filter(run_id=message.id).first()
    if run is None or run.status in FINAL:
        return Reply.done("over")
    branch = _claim(run, message)
    if branch is None:
        return _stand(run, message)
    return _fail(branch, lost, message.retries + 1)
