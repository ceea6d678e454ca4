"""A run as a letter: what it began with, what its steps have come to, and where it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, ClassVar

from django_qstash import serialization
from django_qstash.exceptions import MessageError
from django_qstash.messages import VERSION, TaskMessage
from django_qstash.workflows.history import Entry, History, Key, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """``(run, number)`` says which one it is: whoever writes it again writes that number again."""

    kind: ClassVar[str] = "carried"

    #: The task's letter that the run began with, without its arguments.
    task: TaskMessage
    data: Any = None
    #: How many letters of the run went before this one.
    number: int = 0
    steps: tuple[tuple[Key, Entry], ...] = ()
    #: Which attempt at the body this is.
    attempt: int = 1
    #: When the run's own time is over, in seconds since the epoch.
    deadline: float | None = None
    #: What the run has failed with: nothing is left but to tell ``on_failure``.
    failure: Mapping[str, Any] = field(default_factory=dict)
    enqueued: bool = False
    #: How often QStash gave this letter up.
    life: int = 0

    @property
    def workflow(self) -> str:
        return self.task.task

    @property
    def id(self) -> str:
        """The run's id."""
        return self.task.id

    @property
    def options(self) -> dict[str, Any]:
        """The delivery options of the call, which hold for all letters of its run."""
        queue = self.task.queue
        return {**self.task.options, **({} if queue is None else {"queue": queue})}

    @property
    def deduplication_id(self) -> str:
        """Equal for whatever two deliveries of one letter send: QStash keeps the first."""
        parts = (self.id, self.task.run, self.number, self.life)
        text = "\0".join(map(str, (self.kind, *parts)))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]

    def but(self, **changes: Any) -> Letter:
        """A changed copy."""
        return replace(self, **changes)

    def next(self, **changes: Any) -> Letter:
        """The letter after this one."""
        return self.but(number=self.number + 1, enqueued=False, life=0, **changes)

    def history(self) -> History:
        return History.of((key, replace(entry)) for key, entry in self.steps)

    def encode(self) -> bytes:
        """The body that is published. Raises :class:`EncodeError`."""
        letter: dict[str, Any] = {"v": VERSION, "kind": self.kind, "task": self.task.as_dict()}
        for name, (attribute, _) in _PLAIN.items():
            value = getattr(self, attribute)
            if value != _DEFAULTS[attribute]:
                letter[name] = value
        if self.steps:
            letter["steps"] = [_written(key, entry) for key, entry in self.steps]
        what = f"The input of {self.workflow}"
        return serialization.dumps(letter, what=what).encode("ascii")

    @classmethod
    def from_dict(cls, letter: Mapping[str, Any]) -> Letter:
        """The letter that :meth:`encode` wrote. Raises :class:`MessageError`."""
        task, steps = letter.get("task"), letter.get("steps", [])
        if not isinstance(task, dict) or not isinstance(steps, list):
            raise MessageError("The letter holds no run.")
        values: dict[str, Any] = {}
        for name, (attribute, expected) in _PLAIN.items():
            value = letter.get(name)
            if value is not None:
                if not isinstance(value, expected):
                    raise MessageError(f"The letter's {name!r} has a wrong type.")
                values[attribute] = value
        return cls(task=TaskMessage.from_dict(task), steps=_read(steps), **values)


#: What is written as it is: its name in the letter, where it stands, and its type.
_PLAIN: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "data": ("data", object),
    "n": ("number", int),
    "attempt": ("attempt", int),
    "deadline": ("deadline", (int, float)),
    "failure": ("failure", dict),
    "enqueued": ("enqueued", bool),
    "life": ("life", int),
}
_DEFAULTS: dict[str, Any] = {
    "data": None,
    "number": 0,
    "attempt": 1,
    "deadline": None,
    "failure": {},
    "enqueued": False,
    "life": 0,
}

#: Each field of a step, its name in the letter, and what it is if it is left out.
_FIELDS: dict[str, tuple[str, Any]] = {
    "k": ("kind", None),
    "s": ("status", Status.COMPLETED),
    "e": ("error", None),
    "a": ("attempts", 1),
    "w": ("wake_at", None),
    "h": ("input_hash", ""),
    "t": ("target", ""),
}


def _written(key: Key, entry: Entry) -> dict[str, Any]:
    step: dict[str, Any] = {"id": key.step_id}
    if key.occurrence:
        step["o"] = key.occurrence
    for name, (attribute, default) in _FIELDS.items():
        value = getattr(entry, attribute)
        if value != default:
            step[name] = value
    if entry.result not in (None, "null"):
        # As a value: as text in a text every quote would be two characters.
        step["r"] = entry.value
    return step


def _read(steps: Iterable[Any]) -> tuple[tuple[Key, Entry], ...]:
    try:
        return tuple(_step(step) for step in steps)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MessageError("The letter's steps cannot be read.") from None


def _step(step: Mapping[str, Any]) -> tuple[Key, Entry]:
    fields = {attribute: step.get(name, default) for name, (attribute, default) in _FIELDS.items()}
    if not isinstance(step["id"], str) or not isinstance(fields["kind"], str):
        raise TypeError(step)
    entry = Entry(**fields)
    entry.result = serialization.dumps(step.get("r"))
    return Key(step["id"], int(step.get("o", 0))), entry


class Run:
    """A carried run, as others look at runs."""

    #: Nobody counts its deliveries.
    attempts = 0
    idempotency_key = None

    def __init__(self, letter: Letter, status: str = "running") -> None:
        self.run_id = letter.id
        self.workflow_id = letter.workflow
        self.generation = letter.number
        self.data = letter.data
        self.options = letter.options
        self.attempt = letter.attempt
        self.status = status
        self.deadline = None
        if letter.deadline is not None:
            self.deadline = datetime.fromtimestamp(letter.deadline, timezone.utc)

    def was_canceled(self) -> bool:
        """False: nobody could have said so."""
        return False


def in_order(history: History) -> Sequence[tuple[Key, Entry]]:
    """The steps of a run as its next letter carries them."""
    return tuple(history.entries.items())
