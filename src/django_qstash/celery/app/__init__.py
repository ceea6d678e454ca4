"""Celery: ``celery.app``."""

from __future__ import annotations

from django_qstash.application.app import Celery
from django_qstash.application.current import app_or_default
from django_qstash.tasks.decorators import shared_task

__all__ = [
    "Celery",
    "app_or_default",
    "shared_task",
]
