"""Celery's public module paths: replace ``celery`` by ``django_qstash.celery`` in an import.

Every module here gives names of this package at Celery's addresses, and nothing else. A module of
Celery's that cannot be there raises ``ImportError`` with the reason.
"""

from __future__ import annotations

from django_qstash import states
from django_qstash.application.app import Celery
from django_qstash.application.current import current_app
from django_qstash.messages import new_id as uuid
from django_qstash.tasks.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from django_qstash.tasks.decorators import shared_task
from django_qstash.tasks.request import current_task
from django_qstash.tasks.task import Task

#: The version of Celery whose paths and words these are.
__version__ = "5.7.0"
VERSION = (5, 7, 0)

__all__ = [
    "Celery",
    "Signature",
    "Task",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "states",
    "subtask",
    "uuid",
    "xmap",
    "xstarmap",
]
