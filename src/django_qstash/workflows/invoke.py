"""Calling the function of a step: inside its run, outside of the body, within its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django_qstash import serialization
from django_qstash.tasks import execute
from django_qstash.workflows import rehearsal
from django_qstash.workflows.context import entered
from django_qstash.workflows.history import NONE

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.context import Context


def value_of_call(ask: Ask, context: Context | None) -> str:
    """What the step's function returns, as JSON text: it counts once it can be stored."""
    assert ask.function is not None  # noqa: S101 - such asks have one
    value = call(ask.function, ask, context)
    if rehearsal.stage is not None:
        rehearsal.stage.called(ask)
    if value is None:
        return NONE
    return serialization.dumps(value, what=f"The result of step {ask.step_id!r}")


def call(function: Callable[..., Any], ask: Ask, context: Context | None) -> Any:
    """Call it within its time, inside the run but outside of the body."""
    timelimit = (None, ask.options.timeout)
    if context is None:
        return execute.call(function, ask.args, ask.kwargs, timelimit)
    with entered(context, in_step=True):
        return execute.call(function, ask.args, ask.kwargs, timelimit)
