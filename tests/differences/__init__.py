"""Every row of docs/celery.md at work: ``@shows("key")`` says which row a test is about."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any


def shows(*keys: str) -> Callable[[Any], Any]:
    """Marks a test function, or a class of them, as showing rows of the table by their keys."""

    def mark(test: Any) -> Any:
        test.shown = keys
        return test

    return mark


def shown(package: str = __name__) -> Iterator[str]:
    """The keys of all rows that a test of a package shows."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            yield from getattr(value, "shown", ())
