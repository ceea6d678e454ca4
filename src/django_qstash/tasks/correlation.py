"""One id for all that a request, or a schedule, has led to: the correlation id.

Whoever begins something sets it, such as a middleware; it travels in the headers of every task sent
from there, and of all that those send. Where nobody has set one, the id of the first task of all
serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django_qstash.tasks.request import Context, current_delivery

#: The header of letters, and of ``request.headers``.
HEADER = "correlation_id"

_given: ContextVar[str | None] = ContextVar("django_qstash_correlation", default=None)


@contextmanager
def correlated(correlation_id: Any) -> Iterator[str]:
    """All that is sent in this block belongs to ``correlation_id``."""
    if not isinstance(correlation_id, str) or not correlation_id:
        raise ValueError(f"A correlation id is a text, not {correlation_id!r}.")
    token = _given.set(correlation_id)
    try:
        yield correlation_id
    finally:
        _given.reset(token)


def correlation_id() -> str | None:
    """What this thread or coroutine is at work on; ``None`` outside of any task and block."""
    given = _given.get()
    if given is not None:
        return given
    found = current_delivery()
    if found is None:
        return None
    context = found[1]
    return _of(context) or context.root_id or context.id


def carried(headers: Mapping[str, Any] | None, parent: Context | None) -> dict[str, Any]:
    """The headers of a letter, with the id where somebody has set one."""
    found = dict(headers or {})
    given = _given.get() or (_of(parent) if parent is not None else None)
    if given is not None:
        found.setdefault(HEADER, given)
    return found


def _of(context: Context) -> str | None:
    found = (context.headers or {}).get(HEADER)
    return found if isinstance(found, str) else None
