"""Steps that are functions: called, tried again as their policy says, recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash import clock
from django_qstash.tasks.transient import is_transient
from django_qstash.workflows import failures
from django_qstash.workflows.calls import fetch, idempotency_key
from django_qstash.workflows.entries import completed, failed, is_due, later
from django_qstash.workflows.history import Entry, Key, Status
from django_qstash.workflows.interrupts import Stop
from django_qstash.workflows.invoke import value_of_call

if TYPE_CHECKING:
    from datetime import datetime

    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.keeping import Keeper


def perform(keeper: Keeper, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """Call the step's function, or wait until it may be called again."""
    if entry is not None and entry.status == Status.RETRYING and not is_due(entry.wake_at):
        # Something else has woken the run.
        while True:
            keeper.wait(key, entry, entry)
    attempts = 0 if entry is None else entry.attempts
    policy = ask.options.policy or keeper.workflow.policy
    started_at = clock.now()
    try:
        return _attempt(keeper, ask, key, entry, attempts + 1, started_at)
    except _Faster as faster:
        return faster.recorded
    except Exception as error:
        if is_transient(error):
            raise Stop(error) from error
        attempts += 1
        pause = policy.next_attempt(error, attempts)
        if pause is None:
            data = failures.of_step(str(key), attempts, error)
            gone = failed(ask, entry, data, attempts=attempts)
            return keeper.record(key, entry, gone, started_at=started_at)
        retrying = Entry(
            kind=ask.kind,
            status=Status.RETRYING,
            attempts=attempts,
            error=failures.of_step(str(key), attempts, error),
            target=ask.target,
            input_hash=ask.input_hash,
            wake_at=later(pause).timestamp(),
        )
        while True:
            keeper.wait(key, entry, retrying, started_at=started_at)


def call(keeper: Keeper, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """Make an HTTP call, here."""
    assert keeper.context is not None  # noqa: S101 - there is a body that asks
    token = idempotency_key(keeper.context.run_id, key)
    ask.function, ask.args, ask.kwargs = fetch, (ask.payload, token), {}
    return perform(keeper, ask, key, entry)


def _attempt(
    keeper: Keeper, ask: Ask, key: Key, entry: Entry | None, number: int, started_at: datetime
) -> Entry:
    if not ask.options.atomic:
        text = value_of_call(ask, keeper.context)
        done = completed(ask, entry, text, attempts=number)
        return keeper.record(key, entry, done, started_at=started_at)
    with keeper.fenced():
        text = value_of_call(ask, keeper.context)
        done = completed(ask, entry, text, attempts=number)
        recorded = keeper.record(key, entry, done, started_at=started_at)
        if recorded is not done:
            # Somebody was faster: this call's writes must not be there beside theirs.
            raise _Faster(recorded)
    return done


class _Faster(Exception):
    """Rolls the transaction back."""

    def __init__(self, recorded: Entry) -> None:
        self.recorded = recorded
        super().__init__(recorded)
