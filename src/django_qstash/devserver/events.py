"""The log: what happened to every message, and for how long finished ones are remembered."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from django_qstash.devserver.message import Answer, Message, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Entries kept; older ones are forgotten first.
MAX_EVENTS = 200_000
#: Finished messages remembered, by number and by the bytes of their bodies and answers.
MAX_FINISHED = 20_000
#: Bytes of an answer that stand in the log; dead letters keep all of it.
MAX_ANSWER = 16 * 1024
MAX_FINISHED_BYTES = 64 * 1024 * 1024

_FORGOTTEN = Spec()


class Event(NamedTuple):
    """One line of the log. ``detail``: an attempt's answer, or when the next one is due."""

    serial: int
    time: float
    state: str
    message: Message
    detail: Answer | float | None = None


class Events:
    """The log, and the messages that are finished; bounded, whatever comes."""

    def __init__(self, forget: Callable[[Message], None]) -> None:
        self._events: deque[Event] = deque()
        self._finished: deque[tuple[float, int, Message]] = deque()
        self._bytes = 0
        self._serial = 0
        self._forget = forget

    def __len__(self) -> int:
        return len(self._events)

    @property
    def serial(self) -> int:
        """The number of the latest entry; grows by one with each."""
        return self._serial

    def add(
        self, time: float, state: str, message: Message, detail: Answer | float | None = None
    ) -> Event:
        self._serial += 1
        if isinstance(detail, Answer) and len(detail.body) > MAX_ANSWER:
            detail = replace(detail, body=detail.body[:MAX_ANSWER])
        event = Event(self._serial, time, state, message, detail)
        self.restore(event)
        return event

    def restore(self, event: Event) -> None:
        """Put back an entry of a journal; they come in their own order."""
        self._serial = max(self._serial, event.serial)
        self._events.append(event)
        if len(self._events) > MAX_EVENTS:
            self._events.popleft()

    def retire(self, message: Message) -> None:
        """Remember a finished message; forget the oldest ones when there are too many."""
        size = len(message.spec.body) + (len(message.last.body) if message.last else 0)
        self._finished.append((message.finished or 0.0, size, message))
        self._bytes += size
        while self._finished and (
            len(self._finished) > MAX_FINISHED or self._bytes > MAX_FINISHED_BYTES
        ):
            self._drop()

    def expire(self, before: float) -> None:
        """Forget messages that finished before that time (seconds since the epoch)."""
        while self._finished and self._finished[0][0] < before:
            self._drop()
        while self._events and self._events[0].time < before and self._events[0].message.done:
            self._events.popleft()

    def _drop(self) -> None:
        _, size, message = self._finished.popleft()
        self._bytes -= size
        # Entries of the log still point at it; they are not shown any more.
        message.spec, message.last = _FORGOTTEN, None
        self._forget(message)

    def newest_first(self) -> Iterator[Event]:
        return (event for event in reversed(self._events) if event.message.spec is not _FORGOTTEN)

    def oldest_first(self) -> Iterator[Event]:
        return (event for event in self._events if event.message.spec is not _FORGOTTEN)
