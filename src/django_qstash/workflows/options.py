"""How a step is tried: the words for it, and where they may be said."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django_qstash import durations
from django_qstash.workflows.asks import StepOptions
from django_qstash.workflows.policy import RetryPolicy, make_policy

Duration = float | str | timedelta

#: Keywords of ``step.run`` that are options of the step, not arguments of its function.
OPTIONS = ("retries", "retry", "timeout", "atomic")


def step_options(
    retries: int | None,
    retry: RetryPolicy | None,
    timeout: Duration | None,
    atomic: bool,
    *,
    otherwise: StepOptions | None = None,
) -> StepOptions:
    """Options from words, what they do not say from ``otherwise``. Raises ``ValueError``."""
    otherwise = otherwise or StepOptions()
    flag: Any = atomic
    if not isinstance(flag, bool):
        raise ValueError(f"atomic={atomic!r} must be True or False.")
    seconds = otherwise.timeout if timeout is None else durations.seconds(timeout)
    if seconds is not None and seconds <= 0:
        raise ValueError(f"timeout={timeout!r} must be more than nothing.")
    return StepOptions(
        policy=make_policy(retries=retries, retry=retry, otherwise=otherwise.policy),
        timeout=seconds,
        atomic=atomic or otherwise.atomic,
    )


def duration_of(duration: Duration | None, units: Mapping[str, float]) -> float:
    """Seconds of a pause, said in one word or in units. Raises ``TypeError`` and ``ValueError``."""
    if (duration is None) == (not units):
        raise TypeError("Say how long to sleep once: sleep('id', '5m') or sleep('id', minutes=5).")
    if duration is not None:
        return durations.seconds(duration)
    unknown = units.keys() - {"weeks", "days", "hours", "minutes", "seconds", "milliseconds"}
    if unknown:
        raise TypeError(f"sleep() knows no {', '.join(sorted(unknown))}; it knows weeks … seconds.")
    return durations.seconds(timedelta(**units))


def seconds_of(name: str, duration: Duration) -> float:
    """Seconds of a time-out, a number as it is. Raises ``TypeError`` and ``ValueError``."""
    given: Any = duration
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return given
    if not isinstance(given, (str, timedelta)):
        raise TypeError(f"{name}={given!r} must be seconds, a timedelta or a text such as '90s'.")
    try:
        return durations.seconds(given)
    except ValueError as error:
        raise ValueError(f"{name}: {error}.") from None


def unwrapped(function: Any, options: StepOptions) -> tuple[Any, StepOptions]:
    """The plain function of one that ``@step`` has wrapped, with its options under ``options``."""
    own: StepOptions | None = getattr(function, "step_options", None)
    if own is None:
        return function, options
    merged = StepOptions(
        policy=options.policy or own.policy,
        timeout=own.timeout if options.timeout is None else options.timeout,
        atomic=options.atomic or own.atomic,
    )
    return function.__wrapped__, merged


def refuse_ambiguous(step_id: str, function: Any, given: Mapping[str, Any]) -> None:
    """A keyword that the function may want itself is not guessed at."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment] # a builtin that tells nobody
        unknown = True
    else:
        unknown = any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    wanted = {parameter.name for parameter in parameters}
    mine = [name for name in given if unknown or name in wanted]
    if mine:
        said = ", ".join(f"{name}=…" for name in mine)
        raise TypeError(
            f"Step {step_id!r}: {said} may be meant for the step or for the function. For the step "
            f"write step.options({said}).run(…); for the function wrap it, as in "
            "step.run(id, lambda: f(…))."
        )
