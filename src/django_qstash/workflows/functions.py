"""Steps that are functions: called, tried again as their policy says, recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash import clock
from django_qstash.tasks.transient import is_transient
from django_qstash.workflows import failures
from django_qstash.workflows.history import Entry, Key, Status
from django_qstash.workflows.invoke import value_of_call
from django_qstash.workflows.turn import Stop, completed, failed, is_due, later

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.turn import Turn


def perform(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """Call the step's function, or wait until it may be called again."""
    if entry is not None and entry.status == Status.RETRYING and not is_due(entry.wake_at):
        # Something else has woken the run.
        while True:
            turn.wait(key, entry, entry)
    attempts = 0 if entry is None else entry.attempts
    policy = ask.options.policy or turn.workflow.policy
    started_at = clock.now()
    try:
        return _attempt(turn, ask, key, entry, attempts + 1)
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
            return turn.record(key, entry, gone, started_at=started_at)
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
            turn.wait(key, entry, retrying, started_at=started_at)


def _attempt(turn: Turn, ask: Ask, key: Key, entry: Entry | None, number: int) -> Entry:
    started_at = clock.now()
    if not ask.options.atomic:
        text = value_of_call(ask, turn.context)
        done = completed(ask, entry, text, attempts=number)
        return turn.record(key, entry, done, started_at=started_at)
    with turn.hold.fenced():
        text = value_of_call(ask, turn.context)
        done = completed(ask, entry, text, attempts=number)
        recorded = turn.record(key, entry, done, started_at=started_at)
        if recorded is not done:
            # Somebody was faster: this call's writes must not be there beside theirs.
            raise _Faster(recorded)
    return done


class _Faster(Exception):
    """Rolls the transaction back."""

    def __init__(self, recorded: Entry) -> None:
        self.recorded = recorded
        super().__init__(recorded)
