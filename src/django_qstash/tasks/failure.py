"""An exception as data, and back: what a result row says of a task that failed."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from django_qstash import exceptions, serialization
from django_qstash.exceptions import ChordError, EncodeError


def exception_as_data(error: BaseException) -> dict[str, Any]:
    """An exception as Celery's JSON has it: class name, module, arguments.

    Arguments that JSON cannot carry are kept as their ``repr``.
    """
    arguments = []
    plain = True
    for argument in error.args:
        try:
            serialization.dumps(argument)
            arguments.append(argument)
        except EncodeError:
            arguments.append(repr(argument))
            plain = False
    data: dict[str, Any] = {
        "exc_type": type(error).__qualname__,
        "exc_module": type(error).__module__,
        "exc_message": arguments,
    }
    if not plain:
        data["exc_repr"] = True
    if not error.args and (text := _text(error)):
        # Written in C, or with a message of its own: what it said is not in its arguments.
        data["exc_text"] = text
    if isinstance(error, ChordError) and error.__cause__ is not None:
        # Which member it was that failed, and how.
        data["exc_cause"] = exception_as_data(error.__cause__)
    return data


def to_exception(data: Any) -> BaseException:
    """The exception behind :func:`exception_as_data`, as its own class where that is safe.

    The class must be an exception, imported already (nothing is imported because a row says so),
    and its arguments what they were. Otherwise a stand-in of that name is made, as Celery does.
    """
    if isinstance(data, BaseException):
        return data
    if not isinstance(data, dict) or "exc_type" not in data:
        # What a task told with update_state(state="FAILURE"), or a result that was ignored.
        return Exception(str(data) if data is not None else "its result was not kept")
    name, module = str(data["exc_type"]), data.get("exc_module")
    arguments = data.get("exc_message")
    arguments = arguments if isinstance(arguments, list) else [arguments]
    kind: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split("."):
        kind = getattr(kind, part, None)
    known = isinstance(kind, type) and issubclass(kind, Exception)
    stand_in = type(name.rpartition(".")[2], (Exception,), {"__module__": exceptions.__name__})
    if not known or data.get("exc_repr"):
        kind = stand_in
    made = _made(kind, arguments)
    if made is None:
        made = stand_in(*(arguments or filter(None, [data.get("exc_text")])))
    if "exc_cause" in data:
        made.__cause__ = to_exception(data["exc_cause"])
    return made


def _made(kind: type[BaseException], arguments: list[Any]) -> BaseException | None:
    """An instance of the class; ``None`` if there is no way to make one."""
    with suppress(Exception):
        return kind(*arguments)
    # Its constructor asks for other things than it leaves in its arguments: without it, the
    # exception is still itself for whoever catches it.
    with suppress(Exception):
        made = kind.__new__(kind)
        made.args = tuple(arguments)
        return made
    return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - any code may be behind it
        return ""
