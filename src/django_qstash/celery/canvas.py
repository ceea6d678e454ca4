"""Celery: ``celery.canvas``."""

from __future__ import annotations

from django_qstash.tasks.canvas import (
    Signature,
    _chain,
    _chord,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    maybe_subtask,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from django_qstash.tasks.stamping import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
