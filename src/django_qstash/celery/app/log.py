"""Celery: ``celery.app.log``."""

from __future__ import annotations

from django_qstash.contrib.logging import TaskFormatter

__all__ = [
    "TaskFormatter",
]
