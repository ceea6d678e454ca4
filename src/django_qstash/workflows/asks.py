"""What a body asks for: one object for each step, and who is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from django_qstash.workflows.context import Context
    from django_qstash.workflows.history import Entry, History, Key
    from django_qstash.workflows.policy import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is tried."""

    #: ``None``: as the workflow says.
    policy: RetryPolicy | None = None
    #: Seconds that one attempt, or a wait, may take.
    timeout: float | None = None
    #: Its writes and its record commit together.
    atomic: bool = False


@dataclass(slots=True, kw_only=True)
class Ask:
    """One step, as the body asks for it."""

    kind: str
    step_id: str
    function: Callable[..., Any] | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: StepOptions = field(default_factory=StepOptions)
    #: What it is about; must be the same when the step is asked for again.
    target: str = ""
    input_hash: str = ""
    #: Seconds since the epoch, given the time at which it is asked: when a sleep or wait ends.
    due: Callable[[float], float | None] = lambda _: None
    #: What is sent: a child's data, a task's signature, a call that QStash makes.
    payload: Any = None
    #: The child that runs already, rather than one that is to be started.
    child_id: str = ""
    idempotency_key: str | None = None
    #: At most so many branches of this id at once.
    limit: int | None = None
    #: Of a branch: the body that it was found in.
    context: Context | None = None
    #: What the body gets, made of the recorded value.
    shape: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True)
class Received:
    """What ``wait_for_signal`` and ``wait_for_event`` return; false when the time ran out."""

    data: Any = None
    timed_out: bool = False
    name: str = ""
    #: When it was sent; ``None`` when the time ran out.
    at: datetime | None = None

    def __bool__(self) -> bool:
        return not self.timed_out

    @classmethod
    def of(cls, name: str) -> Callable[[Any], Received]:
        """What makes one of the value that is recorded, which is ``None`` when the time ran out."""

        def shape(value: Any) -> Received:
            if value is None:
                return cls(timed_out=True, name=name)
            return cls(data=value["data"], name=name, at=value["at"])

        return shape


class Host(Protocol):
    """Who does what a body asks for. The engine's has a database, the tests' has a dictionary."""

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        """Do a step that is not done yet, and record it; the entry is done then.

        Raises :class:`Suspend` where the run must wait, after that is recorded.
        """
        ...

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:
        """Begin branches: from now on they run beside the body."""
        ...

    def join(self, keys: Sequence[Key]) -> None:
        """Have the history know how these branches ended. Raises :class:`Suspend` until then."""
        ...

    def reached(self, ask: Ask, key: Key) -> None:
        """The body has come to the start of a branch; a branch's own replay ends here."""
        ...

    @property
    def history(self) -> History: ...
