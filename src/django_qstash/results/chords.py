"""Joins: a chord's members are counted in the transaction that records them. Section D.

A member counts when its row is written, so a member that is delivered again counts no second time;
whoever makes the count full fires the chord, and only once can it be open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F

from django_qstash import clock
from django_qstash.results.models import Chord, GroupMember
from django_qstash.sql.statements import insert_once, moment, raw


class Chords:
    """The chords on one database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._chords = Chord.objects.using(alias)
        self._members = GroupMember.objects.using(alias)

    def count(self, chord: Mapping[str, Any], *, ok: bool, value: str | None) -> str | None:
        """Count a member: ``"fired"`` or ``"failed"`` if the chord is that by this, else ``None``.

        Inside the transaction of the member's record. ``value`` is JSON.
        """
        if not self._arrive(chord["key"], place(chord["index"]), ok, value):
            return None
        self._add_one(chord)
        open_one = self._chords.filter(key=chord["key"], state=Chord.OPEN)
        if not ok:
            return "failed" if open_one.update(state=Chord.FAILED) else None
        return "fired" if open_one.filter(done=F("size")).update(state=Chord.FIRED) else None

    def fail(self, chord: Mapping[str, Any]) -> bool:
        """Close a chord that can never be full; false if it was closed already."""
        self._ensure(chord["key"], chord.get("size"))
        open_one = self._chords.filter(key=chord["key"], state=Chord.OPEN)
        closed: int = open_one.update(state=Chord.FAILED)
        return closed > 0

    def open(self, key: str) -> None:
        self._ensure(key, None)

    def close(self, key: str, size: int) -> bool:
        """Tell the size of a chord; true if it fires by that."""
        self._chords.filter(key=key).update(size=size)
        full = self._chords.filter(key=key, state=Chord.OPEN, done=F("size"))
        fired: int = full.update(state=Chord.FIRED)
        return fired > 0

    def add(self, chord: Mapping[str, Any], index: Sequence[Any]) -> None:
        """One more member to wait for: its row stands before it comes, so it is added once."""
        self._ensure(chord["key"], chord.get("size"))
        if self._insert_member(chord["key"], place(index), None, None):
            self._chords.filter(key=chord["key"]).update(size=F("size") + 1)

    def has_fired(self, key: str) -> bool:
        found: bool = self._chords.filter(key=key, state=Chord.FIRED).exists()
        return found

    def values(self, key: str) -> list[Any]:
        rows = self._members.filter(chord_key=key).values_list("index", "value")
        return nested((index, value) for index, value in rows.iterator(chunk_size=1000))

    # --- one statement each ---------------------------------------------------------------------

    def _arrive(self, key: str, index: str, ok: bool, value: str | None) -> bool:
        if self._insert_member(key, index, ok, value):
            return True
        # Added to the chord beforehand: its row was waiting for it.
        waiting: Any = self._members.filter(chord_key=key, index=index, ok=None)
        came: int = waiting.update(ok=ok, value=raw(value))
        return came > 0

    def _insert_member(self, key: str, index: str, ok: bool | None, value: str | None) -> bool:
        now = moment(self._alias, clock.now())
        row = {"chord_key": key, "index": index, "ok": ok, "value": value, "date_created": now}
        return insert_once(self._alias, GroupMember, row)

    def _add_one(self, chord: Mapping[str, Any]) -> None:
        rows = self._chords.filter(key=chord["key"])
        if not rows.update(done=F("done") + 1):
            self._ensure(chord["key"], chord.get("size"))
            rows.update(done=F("done") + 1)

    def _ensure(self, key: str, size: int | None) -> None:
        """The row, made by whoever comes first; the size is in every letter."""
        now = moment(self._alias, clock.now())
        row = {"key": key, "size": size, "done": 0, "state": Chord.OPEN, "date_created": now}
        insert_once(self._alias, Chord, row)


def place(index: Sequence[Any]) -> str:
    return ".".join(map(str, index))


def nested(members: Any) -> list[Any]:
    """Values by their places, in order: ``"1.0"`` is the first in the list at the second place."""
    tree: dict[Any, Any] = {}
    for index, value in members:
        *path, last = (int(part) if part.isdecimal() else part for part in index.split("."))
        branch = tree
        for part in path:
            branch = branch.setdefault(part, _Branch())
        branch[last] = value
    return _listed(tree)


class _Branch(dict[Any, Any]):
    """A list that is being put together; a member's own dict is not one."""


def _listed(tree: dict[Any, Any]) -> list[Any]:
    order = sorted(tree, key=lambda part: (isinstance(part, str), part))
    return [
        _listed(tree[part]) if isinstance(tree[part], _Branch) else tree[part] for part in order
    ]
