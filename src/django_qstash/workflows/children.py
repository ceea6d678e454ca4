"""Steps that are other runs: started together with their record, heard of when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_qstash import clock, serialization
from django_qstash.exceptions import (
    IdempotencyConflict,
    LeaseLost,
    RunCanceled,
    RunFailed,
    RunTimeout,
)
from django_qstash.messages import WorkflowMessage, new_id
from django_qstash.sql.statements import fetch, insert_once, table
from django_qstash.tasks.failure import to_exception
from django_qstash.workflows import births, failures, letters, rows
from django_qstash.workflows.definition import find_workflow
from django_qstash.workflows.entries import completed, failed, is_due, waiting
from django_qstash.workflows.history import fingerprint
from django_qstash.workflows.models import FINAL, OPEN, RunStatus, Watcher, WorkflowRun

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.history import Entry, Key
    from django_qstash.workflows.turn import Turn


def start(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """Start a child and go on: its row and the step's are written together."""
    with transaction.atomic(using=turn.alias):
        if not turn.hold.renew():
            raise LeaseLost
        child = _born(turn, ask)
        done = completed(ask, entry, serialization.dumps(child.run_id))
        done.child_id = child.run_id
        recorded = turn.record(key, entry, done, started_at=clock.now())
        if recorded is not done:
            raise LeaseLost
    if child.owed is not None:
        from django_qstash.workflows.events import post_owed

        post_owed([child])
    return recorded


def run(turn: Turn, ask: Ask, key: Key, old: Entry | None) -> Entry:
    """Start a child, or find the one that was started, and wait for its end."""
    while True:
        entry = old or waiting(ask, child_id=ask.child_id)
        if not entry.child_id and (twin := _twin(turn, ask)) is not None:
            entry.child_id = twin.run_id
        child = _read(entry.child_id) if entry.child_id else None
        if entry.child_id and (child is None or child.status in FINAL):
            return _ended(turn, ask, key, old, entry, child)
        if is_due(entry.wake_at):
            error = RunTimeout(
                f"The child run {entry.child_id!r} of {ask.target} has not ended in time.",
                run_id=entry.child_id,
            )
            done = failed(ask, entry, failures.of_run(error, str(key)))
            return turn.record(key, old, done, started_at=clock.now())
        if child is None:
            _begin(turn, ask, key, old, entry)
        else:
            _watch(turn, key, old, entry, child)


def _watch(turn: Turn, key: Key, old: Entry | None, entry: Entry, child: WorkflowRun) -> None:
    """Wait for a run that is there already."""

    def watch() -> bool:
        # The child's row before the parent's: its end takes them in the same order.
        if not rows.runs().filter(pk=child.pk, status__in=OPEN).update(watched=True):
            return False
        _register(turn, child)
        return True

    turn.wait(key, old, entry, waits=f"child:{child.run_id}", before=watch)


def _begin(turn: Turn, ask: Ask, key: Key, old: Entry | None, entry: Entry) -> None:
    """Write the child, and wait for it."""
    birth = _birth(turn, ask)
    birth.watched = True
    birth.run_id = entry.child_id = new_id()
    letter = letters.seal(WorkflowMessage(workflow=ask.target, id=birth.run_id))

    def give_birth() -> None:
        child, _ = births.write(birth)
        _register(turn, child)
        # Not among what the run itself sends: the child counts it.
        turn.outbound.append(letter)

    try:
        turn.wait(key, old, entry, waits=f"child:{birth.run_id}", write=give_birth)
    except IdempotencyConflict:
        if ask.idempotency_key is None:
            raise
        # Somebody has used the key since we looked: the next look finds it.
        entry.child_id = ""
        turn.hold.reload()


def _register(turn: Turn, child: WorkflowRun) -> None:
    insert_once(turn.alias, Watcher, {"run_id": child.pk, "waiter_id": turn.hold.run.pk})


def _twin(turn: Turn, ask: Ask) -> WorkflowRun | None:
    """The run that the idempotency key belongs to. Raises :class:`IdempotencyConflict`."""
    if ask.idempotency_key is None:
        return None
    keyed = rows.runs().filter(workflow_id=ask.target, idempotency_key=ask.idempotency_key)
    twin: WorkflowRun | None = keyed.first()
    if twin is not None:
        birth = _birth(turn, ask)
        births.found(birth, twin.run_id, fingerprint(birth.text()))
    return twin


def _birth(turn: Turn, ask: Ask) -> births.Birth:
    return births.Birth(
        workflow=find_workflow(ask.target),
        data=ask.payload,
        idempotency_key=ask.idempotency_key,
        parent=turn.hold.run,
    )


def _born(turn: Turn, ask: Ask) -> WorkflowRun:
    return births.write(_birth(turn, ask))[0]


def _read(run_id: str) -> WorkflowRun | None:
    found: WorkflowRun | None = rows.runs().filter(run_id=run_id).first()
    return found


def _ended(
    turn: Turn,
    ask: Ask,
    key: Key,
    old: Entry | None,
    entry: Entry,
    child: WorkflowRun | None,
) -> Entry:
    error = failure_of(child, entry.child_id)
    if error is not None:
        done = failed(ask, entry, failures.of_run(error, str(key)))
    else:
        assert child is not None  # noqa: S101 - or there were an error
        done = completed(ask, entry, serialization.dumps(child.result))
    return turn.record(key, old, done, started_at=clock.now())


def failure_of(run: WorkflowRun | None, run_id: str) -> RunFailed | RunCanceled | None:
    """What an ended run raises for who waits for it; ``None`` for one that completed."""
    if run is None:
        return RunFailed(f"The run {run_id!r} is not there any more.", run_id=run_id)
    if run.status == RunStatus.COMPLETED:
        return None
    if run.status == RunStatus.CANCELED:
        reason = f": {run.error_message}" if run.error_message else ""
        return RunCanceled(
            f"The run {run_id!r} of {run.workflow_id} was canceled{reason}", run_id=run_id
        )
    error: Any = RunFailed(
        f"The run {run_id!r} of {run.workflow_id} has failed: {run.error_message}", run_id=run_id
    )
    if run.error is not None:
        error.__cause__ = to_exception(run.error)
    failed_run: RunFailed = error
    return failed_run


def wake_waiters(ended: WorkflowRun) -> list[WorkflowRun]:
    """Inside the transaction of a run's end: wake who waits for it, and return them.

    Whoever waits has written ``watched`` before, in the transaction that began the wait.
    """
    name = rows.alias()
    sql = f"SELECT waiter_id FROM {table(name, Watcher)} WHERE run_id = %s ORDER BY waiter_id"  # noqa: S608
    found = [pk for (pk,) in fetch(name, sql, [ended.pk])]
    if not found:
        return []
    ids = dict(rows.runs().filter(pk__in=found).values_list("pk", "run_id"))
    return rows.nudge([ids[pk] for pk in found if pk in ids], f"child:{ended.run_id}")
