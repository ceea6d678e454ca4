"""What the tasks ask of whoever remembers them, and who that is.

The results app keeps tasks in the database; without it every delivery is run, nothing is known
afterwards, and at-least-once is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from django.apps import apps
from django.utils.module_loading import import_string

from django_qstash.exceptions import ResultsNotInstalled

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage

#: The results app's label: a dictionary's key, where ``apps.is_installed`` walks all apps.
LABEL = "django_qstash_results"
STORE = "django_qstash.results.database.DatabaseStore"


# --- what a claim may find --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """The letter is ours to run until the lease ends."""

    token: str
    #: Deliveries that began this letter, this one included.
    attempts: int
    #: The task was revoked before it began: it is to be recorded as that, not run.
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """The letter's outcome is recorded; what follows it may have to be published again."""

    status: str
    follow: Sequence[Mapping[str, Any]]
    #: QStash's id of the message that recorded it: a hint, nobody signed it.
    message_id: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The run has gone past this letter."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Someone else is at work on it for ``seconds`` more at the most."""

    seconds: float


Verdict = Claimed | Recorded | Stale | Busy


# --- what is recorded, and read back -----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one delivery of a letter; ``result`` and the like are JSON text already."""

    status: str
    result: str | None = None
    traceback: str | None = None
    #: The letters that this outcome owes, as :meth:`TaskMessage.as_dict` writes them.
    follow: Sequence[Mapping[str, Any]] = ()
    #: The value as a chord gets it, JSON; kept even where the result itself is ignored.
    joined: str | None = None
    #: The exception behind a failure, for those that will not be sent.
    error: BaseException | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A task as it stands in the store."""

    task_id: str
    status: str
    result: Any = None
    traceback: str | None = None
    name: str | None = None
    args: Any = None
    kwargs: Any = None
    retries: int = 0
    #: Deliveries that began it.
    attempts: int = 0
    worker: str | None = None
    queue: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    message_id: str | None = None
    schedule_name: str | None = None
    date_created: datetime | None = None
    date_started: datetime | None = None
    date_done: datetime | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """An outcome is recorded."""

    #: The letters that it owes.
    follow: Sequence[Mapping[str, Any]]
    #: It was the last member of its chord, whose body is now to be published.
    fired: bool = False


class TaskStore(Protocol):
    """The steps of the delivery protocol that touch memory. Sections A and B."""

    #: False where nothing is remembered.
    durable: bool

    def claim(self, message: TaskMessage, *, message_id: str) -> Verdict: ...

    def expect(self, messages: Sequence[TaskMessage], within: str | None = None) -> bool:
        """Show tasks as PENDING that were sent, or will be; those that are known stay as they are.

        ``within`` is the database whose open transaction the messages are part of. False, and
        nothing written, if the results are in another one.
        """
        ...

    def look(self, message: TaskMessage) -> Verdict | None:
        """How the letter stands, after a claim was refused or a lease was lost.

        ``None``: another run holds the row, and it may be taken over by :meth:`claim`.
        """
        ...

    def renew(self, message: TaskMessage, token: str) -> bool:
        """Lengthen the lease; false if it is not ours any more."""
        ...

    def release(self, message: TaskMessage, token: str) -> None:
        """Give the letter back unrecorded, so that the next delivery need not wait.

        It is as if this one had not begun: it counts for no attempt.
        """
        ...

    def record(
        self,
        message: TaskMessage,
        token: str,
        outcome: Outcome,
        message_id: str,
    ) -> Written | None:
        """Write the outcome if the lease is still ours; ``None``, and nothing written, if not.

        Whatever the outcome decides about others is written in the same transaction: the member's
        part of its chord, and the failure of all that will not be sent.
        """
        ...

    def put(self, message: TaskMessage, outcome: Outcome, began: datetime) -> Written | None:
        """Write the outcome of what was done under another lease; ``None`` if it is not to be had.

        For runs of workflows, whose own rows say who is at work on them.
        """
        ...

    def transaction(self, message: TaskMessage, token: str) -> AbstractContextManager[None]:
        """A transaction in which the body's writes and :meth:`record` commit together.

        It begins by writing the row, so it holds what it needs from the start. Raises
        :class:`LeaseLost` if the lease is not ours any more.
        """
        ...

    def can_renew_within(self, *, atomic: bool) -> bool:
        """False where renewing would wait for the transaction of the body itself."""
        ...

    def update_state(self, task_id: str, status: str, result: str, token: str | None) -> bool:
        """Show a task's own state while it is open; ``token`` fences the write."""
        ...

    def revoke(self, task_id: str, *, terminate: bool) -> None:
        """Have the task not run if it has not begun; with ``terminate``, discard what it does."""
        ...

    def reopen(self, message: TaskMessage) -> bool:
        """Let a letter that is recorded as FAILURE run again; false if that is not recorded."""
        ...

    def keep(self, message: TaskMessage) -> str:
        """Store what is large in a letter; the key to find it by."""
        ...

    def kept(self, key: str) -> Mapping[str, Any] | None:
        """The fields that were stored under a key; ``None`` if they are gone."""
        ...

    def drop(self, key: str) -> None: ...

    def open_chord(self, key: str) -> None:
        """Remember a chord whose size is not known yet."""
        ...

    def close_chord(self, key: str, size: int) -> bool:
        """Tell its size; true if its members have all come already, and it fires by that."""
        ...

    def add_to_chord(self, chord: Mapping[str, Any], index: Sequence[Any]) -> None:
        """Let a chord wait for one more member, once for each index."""
        ...

    def has_fired(self, key: str) -> bool: ...

    def header_values(self, key: str) -> list[Any]:
        """What the members of a chord came to, in their order, nested as they were."""
        ...

    def fetch(self, task_id: str) -> TaskRecord | None: ...

    def is_open(self, task_id: str, heard_within: float | None = None) -> bool | None:
        """True until a task's final state is recorded; ``None`` if nothing is known of it.

        With ``heard_within``, false as well for one that has been silent for as many seconds: its
        lease has ended, or its retry was due, and no delivery came.
        """
        ...

    def fetch_many(self, task_ids: Sequence[str]) -> Mapping[str, TaskRecord]:
        """The records there are, by id."""
        ...

    def forget(self, task_id: str) -> None:
        """Remove what users see of a task."""
        ...

    def save_group(self, group_id: str, data: str) -> None: ...

    def fetch_group(self, group_id: str) -> str | None: ...

    def delete_group(self, group_id: str) -> None: ...


class NoStore:
    """Remembers nothing: every claim succeeds, and results cannot be read."""

    durable = False

    def claim(self, message: TaskMessage, *, message_id: str) -> Verdict:  # noqa: ARG002
        return Claimed("", 1)

    def expect(self, messages: Sequence[TaskMessage], within: str | None = None) -> bool:  # noqa: ARG002
        return True

    def look(self, message: TaskMessage) -> Verdict | None:  # noqa: ARG002
        return Stale()

    def renew(self, message: TaskMessage, token: str) -> bool:  # noqa: ARG002
        return True

    def release(self, message: TaskMessage, token: str) -> None: ...

    def record(
        self,
        message: TaskMessage,  # noqa: ARG002
        token: str,  # noqa: ARG002
        outcome: Outcome,
        message_id: str,  # noqa: ARG002
    ) -> Written | None:
        return Written(outcome.follow)

    def put(self, message: TaskMessage, outcome: Outcome, began: datetime) -> Written | None:  # noqa: ARG002
        return Written(outcome.follow)

    def transaction(self, message: TaskMessage, token: str) -> AbstractContextManager[None]:  # noqa: ARG002
        raise ResultsNotInstalled("Tasks with atomic=True")

    def can_renew_within(self, *, atomic: bool) -> bool:  # noqa: ARG002
        return False

    def update_state(self, task_id: str, status: str, result: str, token: str | None) -> bool:  # noqa: ARG002
        return False

    def revoke(self, task_id: str, *, terminate: bool) -> None:  # noqa: ARG002
        raise ResultsNotInstalled("Revoking a task by its id")

    def reopen(self, message: TaskMessage) -> bool:  # noqa: ARG002
        return True

    def keep(self, message: TaskMessage) -> str:  # noqa: ARG002
        raise ResultsNotInstalled("Arguments over the size limit")

    def kept(self, key: str) -> Mapping[str, Any] | None:  # noqa: ARG002
        return None

    def drop(self, key: str) -> None: ...

    def open_chord(self, key: str) -> None:  # noqa: ARG002
        raise ResultsNotInstalled("Chords")

    def close_chord(self, key: str, size: int) -> bool:  # noqa: ARG002
        raise ResultsNotInstalled("Chords")

    def add_to_chord(self, chord: Mapping[str, Any], index: Sequence[Any]) -> None:  # noqa: ARG002
        raise ResultsNotInstalled("Chords")

    def has_fired(self, key: str) -> bool:  # noqa: ARG002
        return False

    def header_values(self, key: str) -> list[Any]:  # noqa: ARG002
        raise ResultsNotInstalled("Chords")

    def fetch(self, task_id: str) -> TaskRecord | None:  # noqa: ARG002
        raise ResultsNotInstalled

    def is_open(self, task_id: str, heard_within: float | None = None) -> bool | None:  # noqa: ARG002
        raise ResultsNotInstalled

    def fetch_many(self, task_ids: Sequence[str]) -> Mapping[str, TaskRecord]:  # noqa: ARG002
        raise ResultsNotInstalled

    def forget(self, task_id: str) -> None:  # noqa: ARG002
        raise ResultsNotInstalled

    def save_group(self, group_id: str, data: str) -> None:  # noqa: ARG002
        raise ResultsNotInstalled("Saved groups")

    def fetch_group(self, group_id: str) -> str | None:  # noqa: ARG002
        raise ResultsNotInstalled("Saved groups")

    def delete_group(self, group_id: str) -> None:  # noqa: ARG002
        raise ResultsNotInstalled("Saved groups")


_NO_STORE = NoStore()
_store: TaskStore | None = None


def get_store() -> TaskStore:
    """The results app's store if it is installed, else one that remembers nothing."""
    global _store
    if LABEL not in apps.app_configs:
        return _NO_STORE
    if _store is None:
        _store = import_string(STORE)()
    return _store
