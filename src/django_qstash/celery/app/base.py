"""Celery: ``celery.app.base``."""

from __future__ import annotations

from django_qstash.application.app import Celery

__all__ = [
    "Celery",
]
