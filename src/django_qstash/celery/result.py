"""Celery: ``celery.result``."""

from __future__ import annotations

from django_qstash.tasks.eagerresult import EagerResult
from django_qstash.tasks.joining import allow_join_result, assert_will_not_block, denied_join_result
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.resultset import GroupResult, ResultSet, result_from_tuple

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
