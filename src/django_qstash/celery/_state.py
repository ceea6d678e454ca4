"""Celery's own idea of what is current."""

from __future__ import annotations

from django_qstash.application.current import (
    current_app,
    get_current_app,
)
from django_qstash.application.current import (
    set_default as set_default_app,
)
from django_qstash.tasks.request import current_task, get_current_task

__all__ = [
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "set_default_app",
]
