"""When QStash tries a delivery again that failed. Source: QStash's documentation of retries."""

from __future__ import annotations

import math

#: No retry waits longer, in seconds, whatever asks for it.
LONGEST = 86400.0


def standard(retried: int) -> float:
    """Seconds before the next retry when ``retried`` were made: 12 s, 148 s, 30 min, 6 h, 1 day."""
    exponent = 2.5 * (retried + 1)
    return LONGEST if exponent > 12 else min(LONGEST, math.exp(exponent))


def longest(retries: int) -> float:
    """Seconds from a message's first attempt to its last, without those that attempts take."""
    return sum(standard(retried) for retried in range(retries))
