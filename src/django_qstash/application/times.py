"""Celery's words for times and zones: ``celery.utils.time``."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_RATE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:/\s*([smh]))?")
_PER = {"s": 1, "m": 60, "h": 3600, None: 1}
_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def maybe_timedelta(delta: Any) -> Any:
    """A number of seconds as a timedelta; anything else as it is."""
    return timedelta(seconds=delta) if isinstance(delta, (int, float)) else delta


def rate(text: Any) -> float:
    """How often in a second ``"100/m"``, ``"2/h"``, ``"0.5/s"`` or a number is; 0 for nothing.

    Raises ``ValueError`` for what is no rate.
    """
    if not text:
        return 0.0
    match = _RATE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate such as '10/m'.")
    return float(match[1]) / _PER[match[2]]


def weekday(name: str) -> int:
    """0 for Sunday to 6 for Saturday; three letters are enough. Raises ``KeyError``."""
    try:
        return _DAYS.index(name[:3].lower())
    except ValueError:
        raise KeyError(name) from None


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """``90`` as ``"1.50 minutes"``; ``now`` for nothing."""
    for size, unit in _UNITS:
        if secs >= size:
            amount = secs / size
            plural = "" if amount == 1 else "s"
            return f"{prefix}{sep}{amount:.2f} {unit}{plural}"
    if microseconds and secs > 0.0:
        return f"{prefix}{sep}{secs:.2f} seconds"
    return now


def maybe_iso8601(value: datetime | str | None) -> datetime | None:
    """The datetime of an ISO 8601 text; anything else as it is. Raises ``ValueError``."""
    if isinstance(value, str):
        return datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] == "Z" else value)
    return value


def is_naive(value: datetime) -> bool:
    """True for a datetime that names no zone."""
    return value.tzinfo is None or value.tzinfo.utcoffset(value) is None


def make_aware(value: datetime, zone: tzinfo) -> datetime:
    """The same clock time, in ``zone``."""
    return value.replace(tzinfo=zone)


def maybe_make_aware(value: datetime, zone: tzinfo | None = None) -> datetime:
    """The same clock time in ``zone``, or UTC, if it names no zone."""
    return make_aware(value, zone or timezone.utc) if is_naive(value) else value


def localize(value: datetime, zone: tzinfo) -> datetime:
    """The same instant, in ``zone``."""
    return maybe_make_aware(value).astimezone(zone)


def to_utc(value: datetime) -> datetime:
    """A datetime that names no zone is taken for UTC."""
    return maybe_make_aware(value)


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Seconds before a retry: ``factor * 2 ** retries``, at most ``maximum``; with ``full_jitter``
    any whole number up to that."""
    countdown: int = min(maximum, factor * 2 ** min(retries, 64))
    if full_jitter:
        countdown = random.randrange(countdown + 1)  # noqa: S311 - no secret
    return max(0, countdown)
