"""Celery: ``celery.app.task``."""

from __future__ import annotations

from django_qstash.tasks.request import Context
from django_qstash.tasks.task import Task

__all__ = [
    "Context",
    "Task",
]
