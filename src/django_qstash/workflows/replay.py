"""Running a body over what is recorded. No database, no clock, no network: those are the host's."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import Suspend
from django_qstash.workflows.context import Context, entered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Ended:
    """The body returned ``value`` or raised ``error``; with neither, the run pauses."""

    value: Any = None
    error: BaseException | None = None
    paused: bool = False


def replay(
    body: Callable[..., Any],
    context: Context,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Ended:
    """Run the body from its start: recorded steps return at once, the host does the others.

    Its end waits for the branches that it has started and not joined; one that has failed is what
    the body fails with. Lets every :class:`Interrupt` but :class:`Suspend` pass.
    """
    try:
        with entered(context):
            value = _call(body, context, args, kwargs or {})
            context.finish()
    except Suspend:
        return Ended(paused=True)
    except Exception as error:  # noqa: BLE001 - returned
        # A body that is paused and raises something else in a ``finally`` is paused.
        return Ended(paused=True) if context.is_paused else Ended(error=error)
    if context.is_paused:
        # It caught the pause with a bare ``except`` and went on; nothing it did since counts.
        return Ended(paused=True)
    return Ended(value=value)


def _call(
    body: Callable[..., Any], context: Context, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    if not context.is_async:
        return body(context, *args, **kwargs)
    from asgiref.sync import async_to_sync

    return async_to_sync(_run)(body, context, args, kwargs)


async def _run(
    body: Callable[..., Any], context: Context, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    context.body_task = asyncio.current_task()
    return await body(context, *args, **kwargs)


def is_async(function: Callable[..., Any]) -> bool:
    """True for an ``async def`` body, also that of a callable object."""
    function = inspect.unwrap(function)
    if inspect.isroutine(function) or isinstance(function, type):
        return inspect.iscoroutinefunction(function)
    # A partial, which inspect looks through, or an object whose class has a ``__call__``.
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
