"""What leaves a body that has not ended, besides a pause: not for its ``except`` clauses."""

from __future__ import annotations

from django_qstash.exceptions import Interrupt


class Stop(Interrupt):
    """Something broke that is not the body's affair: its delivery is to come again."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(error)


class DeadlinePassed(Interrupt):
    """The run's own ``timeout`` has come."""
