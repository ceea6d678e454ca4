"""Celery: ``celery.schedules``."""

from __future__ import annotations

from django_qstash.schedules.crontab import ParseException, crontab, crontab_parser
from django_qstash.schedules.intervals import BaseSchedule, maybe_schedule, schedule, solar

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedule",
    "solar",
]
