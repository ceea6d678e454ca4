"""Who keeps what the steps of a run have come to, as the steps themselves see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime

    from django_qstash.workflows.context import Context
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.history import Entry, Key


class Keeper(Protocol):
    """One delivery's hold on a run: a turn writes to the database, a carrier into its letter."""

    workflow: Workflow
    context: Context | None

    def record(self, key: Key, old: Entry | None, entry: Entry, *, started_at: datetime) -> Entry:
        """Keep that a step is done; what is kept of it, which counts."""
        ...

    def wait(
        self, key: Key, old: Entry | None, entry: Entry, *, started_at: datetime = ...
    ) -> None:
        """Keep that the run waits here until ``entry.wake_at``, and raise :class:`Suspend`.

        Returns only if something else has come meanwhile: the caller looks again.
        """
        ...

    def fenced(self) -> AbstractContextManager[None]:
        """What is written and recorded inside is kept as a whole, or not at all."""
        ...
