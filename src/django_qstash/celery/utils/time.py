"""Celery: ``celery.utils.time``."""

from __future__ import annotations

from django_qstash.application.times import (
    get_exponential_backoff_interval,
    humanize_seconds,
    is_naive,
    localize,
    make_aware,
    maybe_iso8601,
    maybe_make_aware,
    maybe_timedelta,
    rate,
    to_utc,
    weekday,
)

__all__ = [
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "to_utc",
    "weekday",
]
