"""Delivering what an Outbox keeps, one letter at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from tests.door import knock


def deliver(outbox: Any, which: int = -1, **how: Any) -> Any:
    """Deliver one of the letters that were published."""
    return knock(outbox.sent[which].body, **how)


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction whose end takes everything back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
