"""What ``@workflow`` is told, checked where it is written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any
from urllib.parse import urlsplit

from django_qstash import durations

#: As long as the columns are.
MAX_NAME = 255
MAX_VERSION = 100
#: A run's ``timeout`` is shorter; what is longer was meant in another unit.
TEN_YEARS = 3650 * 86400


def checked(name: str, option: str, value: Any) -> Any:
    """The value of one option of the workflow ``name``; ``None`` is as good as none.

    Raises ``TypeError`` and ``ValueError``.
    """
    check = _CHECKS.get(option)
    return value if check is None or value is None else check(f"{option} of {name}", value)


def checked_name(name: Any) -> str:
    """The name of a workflow. Raises ``TypeError`` and ``ValueError``."""
    if not isinstance(name, str):
        raise TypeError(f"A workflow's name is a text such as 'shop.order', not {name!r}.")
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"A workflow's name has 1 to {MAX_NAME} printable characters and no space at its "
            f"ends, not {name!r}; give another name=."
        )
    return name


def own_name(function: Callable[..., Any], name: str | None) -> tuple[str, str]:
    """The module and name of a body; those of a partial are what it calls.

    Raises ``TypeError`` for what has no name, where none is given either.
    """
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    own = getattr(function, "__name__", None)
    if own is None and name is None:
        raise TypeError(
            f"{function!r} has no name of its own; give one, as in "
            "define_workflow('shop.order', handler=…) or @workflow('shop.order')."
        )
    return inner.__module__, own or getattr(inner, "__name__", None) or type(inner).__name__


def positive(what: str, value: Any) -> float:
    """Seconds of a duration. Raises ``ValueError``."""
    try:
        seconds = durations.seconds(value)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    if seconds <= 0:
        raise ValueError(f"{what} must be more than nothing.")
    return seconds


def _timeout(what: str, value: Any) -> float:
    seconds = positive(what, value)
    if seconds >= TEN_YEARS:
        raise ValueError(f"{what} is {value!r}, and must be less than ten years.")
    return seconds


def _address(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a text such as 'https://shop.example.com', not {value!r}.")
    try:
        parts = urlsplit(value)
        found = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        found = False
    if not found or not value.isprintable() or " " in value:
        raise ValueError(
            f"{what} is {value!r}, which is not an address that begins with http:// or https://."
        )
    return value


def _base(what: str, value: Any) -> str:
    address = _address(what, value)
    if "?" in address or "#" in address:
        raise ValueError(f"{what} is {value!r}; what follows ? or # has no place in it.")
    return address


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, not {value!r}.")
    return value


def _version(what: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, Number)):
        raise TypeError(f"{what} must be a text or a number, not {value!r}.")
    version = str(value)
    if len(version) > MAX_VERSION or not version.isprintable():
        raise ValueError(f"{what} has at most {MAX_VERSION} printable characters, not {value!r}.")
    return version


def _function(what: str, value: Any) -> Any:
    if not callable(value):
        raise TypeError(f"{what} must be a function, not {value!r}.")
    return staticmethod(value)


def _hook(what: str, value: Any) -> Any:
    function = _function(what, value)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a builtin that tells nobody
        return function
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(f"{what} is called with one argument, ctx: {error}.") from None
    return function


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "base_url": _base,
    "failure_url": _address,
    "initial_payload_parser": _function,
    "on_failure": _hook,
    "strict": _flag,
    "timeout": _timeout,
    "verbose": _flag,
    "version": _version,
}
