"""What is to outlast the process: told as it happens, and by default to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_qstash.devserver.events import Event
    from django_qstash.devserver.message import Message


class Journal:
    """The seam between the state and its file; this one keeps nothing."""

    def message(self, message: Message) -> None:
        """A new message was accepted."""

    def progress(self, message: Message) -> None:
        """A message waits for another attempt, or is finished."""

    def forget(self, message: Message) -> None:
        """A finished message is no longer remembered."""

    def event(self, event: Event) -> None:
        """A line of the log."""

    def keep(self, kind: str, key: str, value: object) -> None:
        """A queue, URL group, schedule, dead letter … is new or changed."""

    def drop(self, kind: str, key: str) -> None:
        """It is gone."""
