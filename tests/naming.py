"""Names of parametrized tests that are the same in every process: pytest-xdist compares them."""

from __future__ import annotations

import re
from typing import Any


def named(value: Any) -> str:
    """``repr`` or, of a text, itself; without the addresses of objects."""
    text = value if isinstance(value, str) else repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", text)
