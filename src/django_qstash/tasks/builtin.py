"""The tasks behind ``map``, ``starmap`` and ``replace``, under Celery's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django_qstash.tasks.canvas import maybe_signature
from django_qstash.tasks.decorators import shared_task


@shared_task(name="celery.map", typing=False, internal=True)
def xmap(task: Any, it: Iterable[Any]) -> list[Any]:
    """Call a task for each item, one after another."""
    call = maybe_signature(task).type
    return [call(item) for item in it]


@shared_task(name="celery.starmap", typing=False, internal=True)
def xstarmap(task: Any, it: Iterable[Any]) -> list[Any]:
    """Call a task for each item's arguments, one after another."""
    call = maybe_signature(task).type
    return [call(*item) for item in it]


@shared_task(name="celery.accumulate", typing=False, internal=True)
def accumulate(*args: Any, index: int | None = None) -> Any:
    """The arguments, or one of them: what a group comes to that has replaced a task."""
    return args if index is None else args[index]
