"""What is recorded of a step, made of what was asked for and what it came to."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from django_qstash import clock
from django_qstash.workflows.history import Entry, Status

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask


def instant(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as a datetime."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def is_due(seconds: float | None) -> bool:
    """True once that moment has come; never for none."""
    return seconds is not None and seconds <= clock.time() + 0.05


def waiting(ask: Ask, **fields: Any) -> Entry:
    """The entry of a step that waits from now on."""
    return Entry(
        kind=ask.kind,
        status=Status.WAITING,
        target=ask.target,
        input_hash=ask.input_hash,
        wake_at=ask.due(clock.time()),
        **fields,
    )


def completed(ask: Ask, old: Entry | None, text: str | None, *, attempts: int = 1) -> Entry:
    """The entry of a step with its value, as JSON text."""
    return Entry(
        kind=ask.kind,
        status=Status.COMPLETED,
        result=text,
        attempts=attempts,
        target=ask.target,
        input_hash=ask.input_hash,
        wake_at=None if old is None else old.wake_at,
        child_id="" if old is None else old.child_id,
        fan=0 if old is None else old.fan,
    )


def failed(ask: Ask, old: Entry | None, error: dict[str, Any], *, attempts: int = 1) -> Entry:
    """The entry of a step that has failed for good."""
    entry = completed(ask, old, None, attempts=attempts)
    entry.status, entry.error = Status.FAILED, error
    return entry


def later(seconds: float) -> datetime:
    return clock.now() + timedelta(seconds=seconds)
