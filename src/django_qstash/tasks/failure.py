"""An exception as data, and back: what a result row says of a task that failed."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from django_qstash import exceptions, serialization
from django_qstash.exceptions import (
    ChordError,
    EncodeError,
    RunCanceled,
    RunFailed,
    RunTimeout,
    StepFailed,
)

#: What these know besides their arguments.
_KNOWN: dict[type[BaseException], tuple[str, ...]] = {
    StepFailed: ("step_id", "attempts"),
    RunFailed: ("run_id", "step_id"),
    RunCanceled: ("run_id", "step_id"),
    RunTimeout: ("run_id", "step_id"),
}
#: Those of which half is said by what they were raised ``from``.
_CAUSED = (ChordError, StepFailed, RunFailed, RunCanceled, RunTimeout)
#: How many of these one exception has with it: runs nest, and may be raised from each other.
CAUSES = 4


def exception_as_data(error: BaseException, *, causes: int = CAUSES) -> dict[str, Any]:
    """An exception as Celery's JSON has it: class name, module, arguments.

    Arguments that JSON cannot carry are kept as their ``repr``. What has failed for the sake of
    something else (a chord, a step, a run) keeps that as well, over ``causes`` exceptions at most.
    """
    arguments = []
    plain = True
    for argument in error.args:
        try:
            serialization.dumps(argument)
            arguments.append(argument)
        except EncodeError:
            arguments.append(_repr(argument))
            plain = False
    data: dict[str, Any] = {
        "exc_type": type(error).__qualname__,
        "exc_module": type(error).__module__,
        "exc_message": arguments,
    }
    if not plain:
        data["exc_repr"] = True
    if not error.args and (text := text_of(error)):
        # Written in C, or with a message of its own: what it said is not in its arguments.
        data["exc_text"] = text
    known = {name: getattr(error, name, None) for name in _known(error)}
    if any(known.values()):
        data["exc_known"] = {name: value for name, value in known.items() if value}
    if isinstance(error, _CAUSED) and error.__cause__ is not None and causes:
        # Which member it was that failed, and how.
        data["exc_cause"] = exception_as_data(error.__cause__, causes=causes - 1)
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
    said = arguments or [str(text) for text in [data.get("exc_text")] if text]
    made = _made(kind, arguments, ", ".join(map(str, said)))
    if made is None:
        made = stand_in(*said)
    if isinstance(beside := data.get("exc_known"), dict):
        for each in _known(made):
            if each in beside:
                setattr(made, each, beside[each])
    if "exc_cause" in data:
        made.__cause__ = to_exception(data["exc_cause"])
    return made


def text_of(error: BaseException) -> str:
    """What the exception says; nothing if its class cannot say it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - any code may be behind it
        return ""


def _made(kind: type[BaseException], arguments: list[Any], text: str) -> BaseException | None:
    """An instance of the class that can be shown; ``None`` if there is no way to make one."""
    with suppress(Exception):
        return _shown(kind(*arguments))
    # Its constructor asks for other things than it leaves in its arguments: without it, the
    # exception is still itself for whoever catches it.
    with suppress(Exception):
        return _shown(_half_made(kind, arguments))
    with suppress(Exception):
        return _shown(_half_made(_saying(kind, text), arguments))
    return None


def _half_made(kind: type[BaseException], arguments: list[Any]) -> BaseException:
    made = kind.__new__(kind)
    made.args = tuple(arguments)
    return made


def _saying(kind: type[BaseException], text: str) -> type[BaseException]:
    """The class, with a text that does not ask for what only its constructor sets."""
    words = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__str__": lambda _: text,
        "__repr__": lambda _: f"{kind.__name__}({text!r})",
    }
    return type(kind.__name__, (kind,), words)


def _shown(error: BaseException) -> BaseException:
    """The exception. Raises whatever its class raises when it is logged, or its traceback told."""
    str(error)
    repr(error)
    # Some answer for every attribute, and fail: this is one that a traceback asks for.
    hasattr(error, "__notes__")
    return error


def _known(error: BaseException) -> tuple[str, ...]:
    return next((names for kind, names in _KNOWN.items() if isinstance(error, kind)), ())


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - any code may be behind it
        return f"<{type(value).__qualname__}>"
