"""What runs beside the body, and how the body comes by its values: branches and children."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django_qstash import durations
from django_qstash.exceptions import WorkflowError
from django_qstash.workflows.asks import Ask
from django_qstash.workflows.context import value_of
from django_qstash.workflows.history import Key, Kind
from django_qstash.workflows.names import MAX_ID, check_id

if TYPE_CHECKING:
    from django_qstash.workflows.context import Context
    from django_qstash.workflows.history import Entry
    from django_qstash.workflows.options import Duration


class BranchHandle:
    """A step that runs beside the body."""

    __slots__ = ("_context", "key")

    def __init__(self, context: Context, key: Key) -> None:
        self._context = context
        self.key = key

    def result(self) -> Any:
        """Its value, once it has ended. Raises :class:`StepFailed`."""
        found = self._context.join([self.key])
        return _first(found) if self._context.is_async else value_of(found[0])

    def __await__(self) -> Generator[Any, None, BranchHandle]:
        # Starting waits for nothing; in an async body it may be awaited like all other steps.
        yield from ()
        return self

    def __repr__(self) -> str:
        return f"<step {str(self.key)!r} of run {self._context.run_id}>"


class ChildHandle(str):
    """A child that was started: its run id, and in the body a way to its result."""

    __slots__ = ("_context", "_name", "_step_id")

    _context: Context
    _step_id: str
    _name: str

    def __new__(cls, run_id: str, context: Context, step_id: str, name: str) -> ChildHandle:  # noqa: PYI034
        handle = super().__new__(cls, run_id)
        handle._context, handle._step_id, handle._name = context, step_id, name
        return handle

    @property
    def id(self) -> str:
        return str(self)

    def result(self, timeout: Duration | None = None) -> Any:
        """Its result, for which the run pauses; raises what ``step.run_workflow`` raises."""
        pause = None if timeout is None else durations.seconds(timeout)
        return self._context.ask(
            Ask(
                kind=Kind.CHILD,
                step_id=check_id(f"{self._step_id[: MAX_ID - 10]}:result"),
                target=self._name,
                child_id=str(self),
                due=lambda now: None if pause is None else now + pause,
            )
        )


def gather(
    context: Context, handles: Sequence[BranchHandle | ChildHandle], return_exceptions: bool
) -> list[Any]:
    """The values of branches and children, in the order of their handles."""
    keys = [handle.key for handle in handles if isinstance(handle, BranchHandle)]
    found = dict(zip(keys, context.join(keys), strict=True)) if keys else {}
    outcomes = []
    for handle in handles:
        if isinstance(handle, BranchHandle):
            outcomes.append(_outcome(found[handle.key]))
        else:
            outcomes.append(_caught(handle.result))
    return _values(outcomes, return_exceptions)


async def gather_later(
    context: Context, handles: Sequence[BranchHandle | ChildHandle], return_exceptions: bool
) -> list[Any]:
    """:func:`gather` in an async body."""
    keys = [handle.key for handle in handles if isinstance(handle, BranchHandle)]
    found = dict(zip(keys, await context.join(keys), strict=True)) if keys else {}
    outcomes = []
    for handle in handles:
        if isinstance(handle, BranchHandle):
            outcomes.append(_outcome(found[handle.key]))
            continue
        try:
            outcomes.append((await handle.result(), None))
        except WorkflowError as error:
            outcomes.append((None, error))
    return _values(outcomes, return_exceptions)


async def _first(found: Any) -> Any:
    return value_of((await found)[0])


def _outcome(entry: Entry) -> tuple[Any, BaseException | None]:
    return _caught(lambda: value_of(entry))


def _caught(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return function(), None
    except WorkflowError as error:
        return None, error


def _values(
    outcomes: Iterable[tuple[Any, BaseException | None]], return_exceptions: bool
) -> list[Any]:
    values = []
    for value, error in outcomes:
        if error is not None and not return_exceptions:
            raise error
        values.append(value if error is None else error)
    return values
