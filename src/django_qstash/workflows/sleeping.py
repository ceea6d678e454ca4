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


def sleep(keeper: Keeper, ask: Ask, key: Key, old: Entry | None) -> Entry:
    """The instant of waking is recorded when the sleep begins; a sleep of nothing is no pause."""
    entry = old or waiting(ask)
    while not is_due(entry.wake_at):
        keeper.wait(key, old, entry)
    return keeper.record(key, old, completed(ask, entry, NOTHING), started_at=clock.now())
