"""Errors as a run records them, and back: a replay raises what was raised before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash import exceptions
from django_qstash.exceptions import (
    RunCanceled,
    RunFailed,
    RunTimeout,
    StepFailed,
    WorkflowError,
)
from django_qstash.tasks.failure import CAUSES, exception_as_data, text_of, to_exception

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Characters of a message that are kept; what a user's exception says may be anything.
LONGEST = 2000


def describe(error: BaseException) -> str:
    """``ValueError: no such order``: an exception in one line for people."""
    said = text_of(error)
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def of_step(step_id: str, attempts: int, cause: BaseException) -> dict[str, Any]:
    """The record of a step that failed for good."""
    times = "" if attempts == 1 else f" after {attempts} attempts"
    return {
        "type": StepFailed.__name__,
        "message": f"Step {step_id!r} failed{times}: {describe(cause)}",
        "step_id": step_id,
        "attempts": attempts,
        "cause": exception_as_data(cause),
    }


def of_run(error: RunFailed | RunCanceled | RunTimeout, step_id: str) -> dict[str, Any]:
    """The record of a step that waited for a child, which did not complete."""
    data: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error),
        "run_id": error.run_id,
        "step_id": step_id,
    }
    if error.__cause__ is not None:
        data["cause"] = exception_as_data(error.__cause__)
    return data


def step_of(error: BaseException) -> str:
    """The step that a failed run's error came from; ``""`` where that is the body itself.

    That of a failed step or child, also where the body has raised its own exception ``from`` it.
    """
    cause: BaseException | None = error
    for _ in range(CAUSES):
        if isinstance(cause, (StepFailed, RunFailed, RunCanceled, RunTimeout)):
            # A class of the project's may have left it out.
            return str(getattr(cause, "step_id", ""))
        cause = None if cause is None else cause.__cause__
    return ""


def rebuild(data: Mapping[str, Any]) -> WorkflowError:
    """The exception that a record stands for, a new one each time."""
    kind = getattr(exceptions, str(data["type"]), WorkflowError)
    message = str(data.get("message", ""))
    error: WorkflowError
    if kind is StepFailed:
        error = StepFailed(message, step_id=data["step_id"], attempts=data["attempts"])
    elif kind in (RunFailed, RunCanceled, RunTimeout):
        error = kind(message, run_id=data.get("run_id", ""), step_id=data.get("step_id", ""))
    else:
        error = kind(message)
    if data.get("cause") is not None:
        error.__cause__ = to_exception(data["cause"])
    return error
