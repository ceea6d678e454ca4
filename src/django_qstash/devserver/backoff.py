"""When a failed delivery is tried again by the message's own expression."""

from __future__ import annotations

import math

from django_qstash.devserver import expression
from django_qstash.wire.retries import LONGEST, standard


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
