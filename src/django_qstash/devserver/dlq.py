"""The dead letter queue: messages that QStash gave up, with the last answer."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_qstash.devserver.refusal import not_found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_qstash.devserver.message import Answer, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One entry. ``message`` is as it was when it failed; ``failed`` in seconds since the epoch."""

    id: str
    message: Message
    answer: Answer
    failed: float


class DeadLetters:
    """The entries by id, in the order in which they failed."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, DeadLetter] = OrderedDict()
        self._last = (0, 0)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._entries.values())

    def newest_first(self) -> Iterator[DeadLetter]:
        return reversed(self._entries.values())

    def add(self, message: Message, answer: Answer, now: float) -> DeadLetter:
        """A new entry, whose id is ``<milliseconds>-<sequence>`` as QStash's are."""
        moment = max(int(now * 1000), self._last[0])
        sequence = self._last[1] + 1 if moment == self._last[0] else 0
        # A copy: a message that is forgotten loses its content, its dead letter does not.
        entry = DeadLetter(
            id=f"{moment}-{sequence}", message=copy(message), answer=answer, failed=now
        )
        self.restore(entry)
        return entry

    def restore(self, entry: DeadLetter) -> None:
        self._last = max(self._last, position(entry.id))
        self._entries[entry.id] = entry

    def get(self, dlq_id: str) -> DeadLetter:
        """Raises :class:`Refusal` 404 when it is not there (any more)."""
        try:
            return self._entries[dlq_id]
        except KeyError:
            raise not_found("dlq message", dlq_id) from None

    def find(self, dlq_id: str) -> DeadLetter | None:
        return self._entries.get(dlq_id)

    def remove(self, dlq_id: str) -> DeadLetter:
        """Raises :class:`Refusal` 404 when it is not there (any more)."""
        entry = self.get(dlq_id)
        del self._entries[dlq_id]
        return entry

    def expired(self, before: float) -> list[DeadLetter]:
        """The entries that failed before that time."""
        found = []
        for entry in self._entries.values():
            if entry.failed >= before:
                break
            found.append(entry)
        return found


def position(dlq_id: str) -> tuple[int, int]:
    """Where an id, or a cursor, stands in the order. Raises ``ValueError`` for neither."""
    moment, dash, sequence = dlq_id.partition("-")
    if not dash or not (moment.isdecimal() and sequence.isdecimal()) or len(dlq_id) > 40:
        raise ValueError(f"invalid cursor: {dlq_id[:40]}")
    return int(moment), int(sequence)
