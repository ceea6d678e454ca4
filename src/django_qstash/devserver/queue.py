"""FIFO queues: up to ``parallelism`` messages in progress, retries and callbacks included."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_qstash.devserver.message import Message


@dataclass(slots=True, eq=False)
class Queue:
    """One queue. Times in seconds since the epoch."""

    name: str
    created: float
    updated: float
    parallelism: int = 1
    paused: bool = False
    #: Messages that wait for their turn, first come first.
    line: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    #: In progress, by message id: 1 for the message and 1 for each callback not yet finished.
    slots: dict[str, int] = field(default_factory=dict)
    #: Due again while the queue is paused; they keep their slots.
    held: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    #: Messages not yet delivered, the delayed ones included.
    lag: int = 0

    def admits(self) -> bool:
        return not self.paused and len(self.slots) < self.parallelism

    def take(self, message_id: str) -> None:
        self.slots[message_id] = self.slots.get(message_id, 0) + 1

    def release(self, message_id: str) -> None:
        left = self.slots.get(message_id, 0) - 1
        if left > 0:
            self.slots[message_id] = left
        else:
            self.slots.pop(message_id, None)
