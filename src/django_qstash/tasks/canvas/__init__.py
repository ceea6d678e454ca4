"""Signatures and the canvas: chain, group, chord and the rest, one algebra.

A signature is a call that has not been made. It holds a task's *name*. What it means to run a
canvas is not here: ``plan`` brings any signature into stages, ``launch`` turns stages into letters.
"""

from __future__ import annotations

from django_qstash.tasks.canvas.chain import _chain, chain
from django_qstash.tasks.canvas.chord import _chord, chord
from django_qstash.tasks.canvas.group import group
from django_qstash.tasks.canvas.lazy import Lazy
from django_qstash.tasks.canvas.maps import chunks, xmap, xstarmap
from django_qstash.tasks.canvas.signature import (
    Signature,
    as_list,
    maybe_signature,
    maybe_subtask,
    signature,
    subtask,
)

__all__ = [
    "Lazy",
    "Signature",
    "_chain",
    "_chord",
    "as_list",
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
