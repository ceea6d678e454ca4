"""Celery: ``celery.contrib.django.task``. Every task can wait for the commit here."""

from __future__ import annotations

from django_qstash.tasks.task import Task as DjangoTask

__all__ = [
    "DjangoTask",
]
