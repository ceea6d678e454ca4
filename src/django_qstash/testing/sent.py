"""What was sent, as a test wants to look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_qstash import durations, messages, serialization
from django_qstash.exceptions import MessageError
from django_qstash.messages import TaskMessage

if TYPE_CHECKING:
    from django_qstash.wire.envelope import Envelope


@dataclass(frozen=True, slots=True)
class SentTask:
    """One message of a task, as it was published."""

    message: TaskMessage
    envelope: Envelope
    #: QStash's id of it.
    message_id: str

    @property
    def name(self) -> str:
        return self.message.task

    @property
    def task_id(self) -> str:
        return self.message.id

    @property
    def args(self) -> Sequence[Any]:
        """The arguments, as JSON brings them to the task: a tuple is a list."""
        return self.message.args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        return self.message.kwargs

    @property
    def retries(self) -> int:
        """0 for the first message of a task, 1 for that of its first retry."""
        return self.message.retries

    @property
    def delay(self) -> float:
        """Seconds that QStash was told to wait."""
        return durations.seconds(self.options.get("delay", 0))

    @property
    def queue(self) -> str | None:
        return self.message.queue

    @property
    def options(self) -> Mapping[str, Any]:
        """The delivery options, in QStash's words: ``retries``, ``timeout``, ``label`` …"""
        return self.envelope.options

    def fits(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """True if it calls that task, with these arguments if any are given."""
        if self.name != name:
            return False
        if not args and not kwargs:
            return True
        return (list(self.args), dict(self.kwargs)) == (as_sent(list(args)), as_sent(dict(kwargs)))

    def __str__(self) -> str:
        shown = [
            *map(repr, self.args),
            *(f"{name}={value!r}" for name, value in self.kwargs.items()),
        ]
        return f"{self.name}({', '.join(shown)})"


def as_sent(value: Any) -> Any:
    """The value after its way through JSON."""
    return serialization.loads(serialization.dumps(value))


def letter_of(body: bytes) -> TaskMessage | None:
    """The letter of a task; ``None`` for anything else that may be published."""
    try:
        letter = messages.decode(body)
        if messages.kind_of(letter) == TaskMessage.kind:
            return TaskMessage.from_dict(letter)
    except MessageError:
        pass
    return None


def identity_of(body: bytes) -> Any:
    """What is equal in all copies of a letter."""
    message = letter_of(body)
    return body if message is None else (message.id, message.run, message.retries)
