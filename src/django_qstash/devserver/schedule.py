"""Schedules: a message that is published again at every fire of its cron expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django_qstash.devserver.message import DELIVERED, FINAL, Message, Spec

if TYPE_CHECKING:
    from django_qstash.devserver.cron import Cron

IN_PROGRESS = "IN_PROGRESS"
SUCCESS = "SUCCESS"
FAIL = "FAIL"


@dataclass(slots=True, eq=False, kw_only=True)
class Schedule:
    """One schedule. Times in seconds since the epoch."""

    id: str
    cron: Cron
    destination: str
    spec: Spec
    created: float
    paused: bool = False
    last_time: float | None = None
    next_time: float | None = None
    #: The messages of the last fire, and what became of each: IN_PROGRESS, SUCCESS or FAIL.
    last_states: dict[str, str] = field(default_factory=dict)
    #: Why the last fire published nothing; empty when it did.
    error: str = ""

    def note(self, message: Message) -> bool:
        """Take over a message's state; false if it is not of the last fire."""
        if message.id not in self.last_states:
            return False
        if message.state in FINAL:
            self.last_states[message.id] = SUCCESS if message.state == DELIVERED else FAIL
        return True
