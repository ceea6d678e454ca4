"""Celery: ``celery.app.control``."""

from __future__ import annotations

from django_qstash.application.control import Control, Inspect

__all__ = [
    "Control",
    "Inspect",
]
