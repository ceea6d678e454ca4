"""``|``: what stands before what. The one place that knows every kind of canvas."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any

from django_qstash.tasks.canvas.chain import _chain, chain
from django_qstash.tasks.canvas.chord import _chord
from django_qstash.tasks.canvas.group import group, is_empty_group, unroll
from django_qstash.tasks.canvas.signature import Signature, certain_signature


def piped(left: Signature, right: Any) -> Any:
    """``left | right``, by Celery's rules. Neither is changed.

    A task or chain that something follows is a chain, and chains in a row are one. A group that
    something follows is the header of a chord; what follows a chord belongs to its body. A group
    of one is its member, an empty one nothing.
    """
    if not isinstance(right, Signature):
        return NotImplemented
    if isinstance(left, _chain):
        return _after_a_chain(left, right)
    if isinstance(left, group):
        return left if is_empty_group(right) else _chord(left, right)
    alone = unroll(right)
    if isinstance(left, _chord) and (alone is not right or not isinstance(right, (group, _chain))):
        copy = left.clone()
        copy.body = copy.body | alone
        return copy
    if isinstance(right, _chain):
        return _chain(left, *right.unchain_tasks())
    return _chain(left, alone)


def chained(tasks: Iterable[Any]) -> Any:
    """``a | b | c …``, in time that grows with their number: each is copied once."""
    steps: list[Any] = []
    rest = map(certain_signature, tasks)
    for task in rest:
        if (instead := _append(steps, task)) is not None:
            return functools.reduce(operator.or_, rest, instead)
    return _chain(steps)


def _after_a_chain(left: _chain, right: Signature) -> Any:
    if is_empty_group(right):
        return left
    steps = left.unchain_tasks()
    instead = _append(steps, right)
    if instead is not None:
        return instead
    return (_chain if type(left) is chain else type(left))(steps)


def _append(steps: list[Any], other: Any) -> Any:
    """Let ``other`` follow the steps, in place; what it all comes to if that is no chain."""
    if is_empty_group(other):
        return None
    other = unroll(other)
    if isinstance(other, _chain):
        inner = iter(other.unchain_tasks())
        for step in inner:
            if (instead := _append(steps, step)) is not None:
                return functools.reduce(operator.or_, inner, instead)
        return None
    if not steps:
        if isinstance(other, group):
            return other
        steps.append(other.clone())
        return None
    last = steps[-1]
    if isinstance(last, _chord) and not isinstance(other, _chord):
        last.body = last.body | other
    elif isinstance(last, group) and not isinstance(other, group):
        steps[-1] = _chord(last, other.clone())
        if len(steps) > 1 and isinstance(steps[-2], _chord):
            joined = steps.pop()
            steps[-1].body = steps[-1].body | joined
    else:
        steps.append(other.clone())
    return None
