"""Durations and instants as people, Celery and QStash write them, with one meaning each."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign, which Go writes
    "μs": 1e-6,  # the Greek letter, which Go reads as well
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PART = re.compile(rf"({_NUMBER.pattern})({'|'.join(_UNITS)})")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(value: float | str | timedelta) -> float:
    """A duration in seconds: ``90``, ``"90"``, ``"90s"``, ``"1d10h30m"`` or a timedelta.

    Raises ``ValueError`` for what is none of these, for negative and for endless durations.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = _float(value)
    elif isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            result = float(text)
        elif _WHOLE.fullmatch(text):
            result = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        else:
            raise ValueError(
                f"{value!r} is not a duration; write seconds, or numbers with units d, h, m, s, "
                "such as '90s' or '1d12h'"
            )
    else:
        raise ValueError(f"{value!r} is not a duration; give seconds, a timedelta or '90s'")
    if not 0 <= result < math.inf:
        raise ValueError(f"{value!r} is not a duration; it must be zero or more, and finite")
    return result


def whole_seconds(value: float | str | timedelta) -> int:
    """:func:`seconds`, rounded up: QStash counts whole seconds, and early is worse than late."""
    return math.ceil(round(seconds(value), 6))


def header(value: float | str | timedelta) -> str:
    """A duration as QStash's headers carry it: ``"90s"``."""
    return f"{whole_seconds(value)}s"


def timestamp(value: float | str | datetime) -> float:
    """An instant in seconds since the epoch: a number, an ISO 8601 text or a datetime.

    A datetime without a zone is UTC here; callers that know the site's zone apply it before.
    """
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(rf"-?{_NUMBER.pattern}", text):
            return float(text)
        try:
            value = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not an instant; give a datetime, an ISO 8601 text or a Unix time"
            ) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        return value.timestamp()
    number: Any = value
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        moment = _float(number)
        if math.isfinite(moment):
            return moment
    raise ValueError(f"{value!r} is not an instant; give a datetime or a Unix time in seconds")


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf
