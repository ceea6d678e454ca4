"""Celery: ``celery.utils.graph``."""

from __future__ import annotations

from django_qstash.tasks.graph import DependencyGraph

__all__ = [
    "DependencyGraph",
]
