"""What a schedule's messages say. QStash sends the same bytes at every fire.

So the bytes cannot tell one fire from another: :func:`task_id_of` says which it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from django_qstash import serialization
from django_qstash.exceptions import MessageError
from django_qstash.messages import VERSION, TaskMessage, derived_run
from django_qstash.tasks import write
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.triggers import ALLOW

_NAMESPACE = uuid.UUID("0f1c2f0a-52c5-5d6e-9e0b-6a8a6f7c1f55")


def task_id_of(schedule_id: str, message_id: str) -> str:
    """The task id of one fire: the same however often QStash delivers its message.

    The schedule's id is signed with the body. The message's id comes in a header, or in the signed
    account of a delivery that QStash gave up; see ARCHITECTURE.md for what a forged header can do.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{schedule_id}\0{message_id}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleLetter:
    """The body of a schedule: which one it is, what it runs, and how."""

    kind: ClassVar[str] = "schedule"

    #: The schedule's id.
    id: str
    name: str
    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: Options of the call, as ``apply_async`` takes them.
    call: Mapping[str, Any] = field(default_factory=dict)
    overlap: str = ALLOW
    #: Days that have to fit as well, as a cron expression; and the one that QStash fires by.
    only_on: str = ""
    cron: str = ""
    #: Seconds that QStash holds each message back.
    delay: int = 0
    #: Where code says so: which place in it.
    code: str = ""
    #: A digest of the delivery options, of which QStash's API does not show all.
    options: str = ""
    #: The fire's message id, in a copy that waits for its turn; copies and lives are counted.
    fire: str = ""
    p: int = 0
    life: int = 0

    def but(self, **changes: Any) -> ScheduleLetter:
        """A changed copy."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The letter as plain values, defaults left out."""
        letter: dict[str, Any] = {"v": VERSION, "kind": self.kind}
        for name in _TYPES:
            value = getattr(self, name)
            if value and (name, value) != ("overlap", ALLOW):
                letter[name] = list(value) if name == "args" else value
        return letter

    def encode(self) -> bytes:
        """The body. Raises :class:`EncodeError` naming the argument."""
        what = f"The schedule {self.name!r}"
        return serialization.dumps(self.as_dict(), what=what).encode("ascii")

    @classmethod
    def from_dict(cls, letter: Mapping[str, Any]) -> ScheduleLetter:
        """The inverse of :meth:`as_dict`. Raises :class:`MessageError`."""
        values: dict[str, Any] = {}
        for name, expected in _TYPES.items():
            value = letter.get(name)
            if value is None:
                continue
            if not isinstance(value, expected) or isinstance(value, bool):
                raise MessageError(f"The schedule's {name!r} has a wrong type.")
            values[name] = value
        for name in ("id", "task"):
            if not values.get(name):
                raise MessageError(f"The schedule's message names no {name!r}.")
        values.setdefault("name", values["id"])
        return cls(**values)

    def message(self, message_id: str) -> TaskMessage:
        """The task's letter of one fire.

        Raises :class:`OptionError` and ``TypeError`` for a call that cannot be.
        """
        task_id = task_id_of(self.id, message_id)
        task = tasks.get(self.task)
        options = {**self.call, "task_id": task_id}
        # Arguments that do not fit fail in the delivery, where their failure is recorded.
        message, _once = write.write(
            self.task, list(self.args), self.kwargs, options, task, check=False
        )
        run = derived_run(f"{self.id}\0{message_id}", "fire")
        return message.but(run=run, schedule=self.name, schedule_id=self.id)


_KINDS = {"args": list, "kwargs": dict, "call": dict, "delay": int, "p": int, "life": int}
_TYPES: dict[str, type] = {item.name: _KINDS.get(item.name, str) for item in fields(ScheduleLetter)}
