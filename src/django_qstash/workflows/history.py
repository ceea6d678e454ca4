"""What is recorded of a run: its steps by id and occurrence. Plain data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from django_qstash import serialization
from django_qstash.exceptions import EncodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


#: ``None`` as it is recorded.
NONE = "null"


class Key(NamedTuple):
    """A step by its id, and the how-manieth of that id it is."""

    step_id: str
    occurrence: int = 0

    def __str__(self) -> str:
        return f"{self.step_id}#{self.occurrence}" if self.occurrence else self.step_id


class Kind:
    """What a step is. Another kind under a recorded id is a non-determinism."""

    RUN = "run"
    SLEEP = "sleep"
    CALL = "call"
    SIGNAL = "signal"
    EVENT = "event"
    CHILD = "child"
    START = "start"
    TASK = "task"
    BRANCH = "branch"
    VALUE = "value"
    VERSION = "version"
    ON_FAILURE = "on_failure"


class Status:
    """Where a step stands."""

    #: For its time, or for somebody.
    WAITING = "waiting"
    #: To be tried again at its time.
    RETRYING = "retrying"
    #: A branch that nobody has begun, or that somebody is at work on.
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"

    DONE = frozenset({COMPLETED, FAILED})


@dataclass(slots=True, kw_only=True)
class Entry:
    """One recorded step."""

    kind: str
    status: str
    #: JSON text of the value, and of :func:`failures.as_data` of what was raised.
    result: str | None = None
    error: Mapping[str, Any] | None = None
    #: Attempts that have ended.
    attempts: int = 0
    #: Seconds since the epoch: when a sleep, a time-out or a retry is due.
    wake_at: float | None = None
    input_hash: str = ""
    #: What it is about: a signal's name, an event's key, a workflow's or task's name.
    target: str = ""
    #: The child run that it waits for.
    child_id: str = ""
    #: Which fan-out a branch belongs to.
    fan: int = 0
    #: The row's key, if it is in a database.
    pk: int | None = None

    @property
    def is_done(self) -> bool:
        return self.status in Status.DONE

    @property
    def value(self) -> Any:
        """The value, a fresh copy each time."""
        return None if self.result in (None, NONE) else serialization.loads(self.result)


@dataclass(slots=True)
class History:
    """The entries of a run. ``asked`` counts how often the body has asked for each id."""

    entries: dict[Key, Entry] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    #: Steps that the body has not asked for yet: while there are some, it is a replay. Marks of
    #: versions do not count, since the code may have lost those.
    ahead: int = 0

    @classmethod
    def of(cls, entries: Iterable[tuple[Key, Entry]]) -> History:
        found = dict(entries)
        return cls(found, {}, sum(entry.kind != Kind.VERSION for entry in found.values()))

    def next_key(self, step_id: str) -> Key:
        """The key of the step that the body asks for by this id now."""
        occurrence = self.asked.get(step_id, 0)
        self.asked[step_id] = occurrence + 1
        return Key(step_id, occurrence)

    def find(self, key: Key) -> Entry | None:
        entry = self.entries.get(key)
        if entry is not None and self.ahead and entry.kind != Kind.VERSION:
            self.ahead -= 1
        return entry

    def put(self, key: Key, entry: Entry) -> None:
        self.entries[key] = entry

    def last_fan(self) -> int:
        return max((entry.fan for entry in self.entries.values()), default=0)

    def done(self) -> Iterator[tuple[Key, Entry]]:
        return ((key, entry) for key, entry in self.entries.items() if entry.is_done)

    @property
    def is_replaying(self) -> bool:
        return self.ahead > 0


def hash_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A fingerprint of a step's arguments, by which a changed call is noticed.

    What JSON cannot carry, such as a model instance, is left out.
    """
    if not args and not kwargs:
        return ""
    try:
        text = serialization.dumps([args, kwargs])
    except EncodeError:
        named = {name: _carried(value) for name, value in kwargs.items()}
        text = serialization.dumps([[_carried(value) for value in args], named])
    return fingerprint(text)


def fingerprint(text: str) -> str:
    """By which other JSON text is noticed; the order of its keys says nothing."""
    if '{"' in text:
        hook = _in_order if serialization.TYPE in text else None
        text = json.dumps(json.loads(text, object_hook=hook), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _in_order(value: dict[str, Any]) -> dict[str, Any]:
    # A dict that has one of our tags among its own keys is carried as a list of its items.
    if value.get(serialization.TYPE) != "dict":
        return value
    return {**value, serialization.VALUE: sorted(value[serialization.VALUE])}


def _carried(value: Any) -> Any:
    try:
        serialization.dumps(value)
    except EncodeError:
        return None
    return value
