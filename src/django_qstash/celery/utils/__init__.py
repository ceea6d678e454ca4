"""Celery: ``celery.utils``."""

from __future__ import annotations

from django.utils.functional import cached_property

from django_qstash.application.imports import gen_task_name, instantiate
from django_qstash.messages import new_id as gen_unique_id
from django_qstash.messages import new_id as uuid

__all__ = [
    "cached_property",
    "gen_task_name",
    "gen_unique_id",
    "instantiate",
    "uuid",
]
