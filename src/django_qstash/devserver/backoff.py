"""When a failed delivery is tried again: QStash's schedule, the message's own, the answer's."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from django_qstash.devserver import expression
from django_qstash.wire import durations
from django_qstash.wire.retries import LONGEST, standard

if TYPE_CHECKING:
    from collections.abc import Iterable

#: In the order in which they are believed. Source: QStash's documentation of retries.
RETRY_HEADERS = (
    "retry-after",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)


def computed(text: str | None, retried: int) -> float:
    """Seconds by the ``Upstash-Retry-Delay`` expression ``text``, else the standard ones.

    An expression that has no value here (a division by zero, say) leaves the standard ones too:
    the message was accepted, so it must go on.
    """
    if text is None:
        return standard(retried)
    try:
        value = expression.parse(text)(float(retried)) / 1000
    except OverflowError:
        return LONGEST
    except (ArithmeticError, ValueError):
        return standard(retried)
    if math.isnan(value):
        return standard(retried)
    return min(LONGEST, max(0.0, value))


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
