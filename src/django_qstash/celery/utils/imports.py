"""Celery: ``celery.utils.imports``."""

from __future__ import annotations

from django_qstash.application.imports import gen_task_name, instantiate, qualname, symbol_by_name

__all__ = [
    "gen_task_name",
    "instantiate",
    "qualname",
    "symbol_by_name",
]
