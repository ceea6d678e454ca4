"""Celery: ``celery.app.registry``."""

from __future__ import annotations

from django_qstash.tasks.registry import TaskRegistry

__all__ = [
    "TaskRegistry",
]
