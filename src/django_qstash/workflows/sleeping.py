"""Steps that wait for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash import clock
from django_qstash.workflows.entries import completed, is_due, waiting

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.history import Entry, Key
    from django_qstash.workflows.keeping import Keeper

#: What a wait came to when its time ran out: no event has this value.
NOTHING = "null"


def sleep(keeper: Keeper, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """The instant of waking is recorded when the sleep begins; a sleep of nothing is no pause."""
    if entry is None:
        entry = waiting(ask)
        if is_due(entry.wake_at):
            done = completed(ask, entry, NOTHING)
            return keeper.record(key, None, done, started_at=clock.now())
        while True:
            keeper.wait(key, None, entry)
    while not is_due(entry.wake_at):
        keeper.wait(key, entry, entry)
    return keeper.record(key, entry, completed(ask, entry, NOTHING), started_at=clock.now())
