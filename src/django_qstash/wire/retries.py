"""When QStash tries a delivery again that failed. Source: QStash's documentation of retries."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from django_qstash import durations

if TYPE_CHECKING:
    from collections.abc import Iterable

#: No retry waits longer, in seconds, whatever asks for it.
LONGEST = 86400.0
#: In the order in which they are believed. Source: QStash's documentation of retries.
RETRY_HEADERS = (
    "retry-after",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)


def standard(retried: int) -> float:
    """Seconds before the next retry when ``retried`` were made: 12 s, 148 s, 30 min, 6 h, 1 day."""
    exponent = 2.5 * (retried + 1)
    return LONGEST if exponent > 12 else min(LONGEST, math.exp(exponent))


def longest(retries: int, retried: int = 0) -> float:
    """Seconds from the attempt after ``retried`` retries to the last, without what attempts take.

    If nobody asks for other pauses.
    """
    return sum(standard(number) for number in range(retried, retries))


def asked_for(headers: Iterable[tuple[str, str]], now: float) -> float | None:
    """Seconds that a failing answer asks to wait; ``None`` where it asks for nothing sensible.

    Takes seconds, an HTTP date or a Go duration. More than a day is ignored (QStash).
    """
    found = {name.lower(): value for name, value in headers}
    for name in RETRY_HEADERS:
        if name in found:
            wait = _read(found[name].strip(), now)
            if wait is not None and wait <= LONGEST:
                return wait
    return None


def _read(text: str, now: float) -> float | None:
    try:
        return durations.seconds(text)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    try:
        return max(0.0, durations.timestamp(moment) - now)
    except (ValueError, OverflowError):
        return None
