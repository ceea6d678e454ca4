"""Celery: ``celery.contrib.abortable``."""

from __future__ import annotations

from django_qstash.tasks.abortable import ABORTED, AbortableAsyncResult, AbortableTask

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]
