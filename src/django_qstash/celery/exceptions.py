"""Celery: ``celery.exceptions``.

``OperationalError`` is what is raised when QStash cannot be reached, as Celery's is for a broker.
"""

from __future__ import annotations

from django_qstash.exceptions import (
    AlreadyRegistered,
    AlwaysEagerIgnored,
    CeleryError,
    CeleryWarning,
    ChordError,
    DuplicateTaskNameWarning,
    Ignore,
    ImproperlyConfigured,
    IncompleteStream,
    InvalidTaskError,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskError,
    TaskPredicate,
    TaskRevokedError,
    TimeLimitExceeded,
    TimeoutError,  # noqa: A004 - Celery's name
    WorkerLostError,
)
from django_qstash.exceptions import (
    PublishError as OperationalError,
)

__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "DuplicateTaskNameWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
]
