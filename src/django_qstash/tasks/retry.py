"""Again, and when: ``Task.retry`` and the automatic retries, by Celery's rules."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NoReturn

from django_qstash.exceptions import Ignore, MaxRetriesExceededError, Retry
from django_qstash.tasks import correlation, write
from django_qstash.tasks import options as call_options

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage
    from django_qstash.tasks.request import Context
    from django_qstash.tasks.task import Task


@dataclass(frozen=True, slots=True)
class NextCall:
    """How the task is to be called next; what ``Retry.sig`` is."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    retries: int
    #: The letter to publish; ``None`` for an eager task, which is run again in place.
    letter: TaskMessage | None
    #: What ``self.retry`` was given besides; the letter has it already.
    options: Mapping[str, Any]


def retry(
    task: Task[..., Any],
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    exc: BaseException | None = None,
    throw: bool = True,
    eta: Any = None,
    countdown: Any = None,
    max_retries: int | None = None,
    options: Mapping[str, Any],
) -> Retry:
    """See :meth:`Task.retry`."""
    context = task.request
    if context.called_directly:
        _raise_from_current(exc or Retry("Task can be retried", None))
    retries = context.retries + 1
    if max_retries is not None:
        context.override_max_retries = max_retries
    limit = task.max_retries if max_retries is None else max_retries
    if not eta and countdown is None:
        countdown = task.default_retry_delay
    args, kwargs = _arguments(task, context, args, kwargs)
    _refuse(options)
    if limit is not None and retries > limit:
        if exc is not None:
            _raise_from_current(exc)
        raise MaxRetriesExceededError(
            f"Can't retry {task.name}[{context.id}] args:{args} kwargs:{dict(kwargs)}",
            task_args=args,
            task_kwargs=kwargs,
        )
    letter = None
    if not context.is_eager:
        moment = {"eta": eta} if eta else {"countdown": countdown}
        letter = next_letter(task, context, args, kwargs, {**options, **moment})
    wanted = Retry(
        exc=exc,
        when=eta or countdown,
        is_eager=context.is_eager,
        sig=NextCall(args, kwargs, retries, letter, options),
    )
    if throw:
        raise wanted
    # The task goes on, and what it returns decides its state; the retry is sent all the same.
    context.unthrown_retry = wanted
    return wanted


def next_letter(
    task: Task[..., Any],
    context: Context,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> TaskMessage:
    """The letter of the next try: the same task id, run, links, chain, chord and options."""
    celery, delivery, _ = call_options.split(options)
    message = context.message
    assert message is not None  # noqa: S101 - every call that was sent has one
    changes: dict[str, Any] = {
        "retries": context.retries + 1,
        "eta": call_options.due(celery),
        "enqueued": False,
        "p": 0,
        "life": 0,
    }
    if args is not context.args or kwargs is not context.kwargs:
        # All that is wanted is given here; what a chord or an errback adds is among it already.
        given = {"args": list(args), "kwargs": dict(kwargs)}
        changes |= {**given, "stored": None, "header": None, "errback": None}
    changes |= _changes(task, context, message, celery, delivery)
    # Arguments that JSON cannot carry fail here, inside the body.
    return write.fit(message.but(**changes), task)


def _changes(
    task: Task[..., Any],
    context: Context,
    message: TaskMessage,
    celery: Mapping[str, Any],
    delivery: Mapping[str, Any],
) -> dict[str, Any]:
    """What the options of ``self.retry`` change in the letter."""
    changes: dict[str, Any] = {
        name: celery[name]
        for name in ("priority", "ignore_result", "shadow", "argsrepr", "kwargsrepr")
        if celery.get(name) is not None
    }
    if celery.get("expires") is not None:
        changes["expires"] = call_options.expiry(celery["expires"])
    if queue := celery.get("queue") or celery.get("routing_key"):
        changes["queue"] = call_options.check_queue(queue)
    call_options.refuse_flow(task.name, changes.get("queue", message.queue), delivery, task)
    for name, those in (("link", "callbacks"), ("link_error", "errbacks")):
        if celery.get(name) is not None:
            changes[those] = write.signature_dicts(celery[name])
    if celery.get("headers"):
        # In place of those that it has, as in Celery.
        changes["headers"] = correlation.carried(celery["headers"], context)
    if celery.keys() & {"time_limit", "soft_time_limit"}:
        changes["timelimit"] = call_options.limits(celery, task, context.timelimit)
    if delivery:
        changes["options"] = {**message.options, **delivery}
    return changes


def _refuse(options: Mapping[str, Any]) -> None:
    """Raises ``TypeError`` for what is no option, or one that a retry cannot have."""
    _, _, own = call_options.split(options)
    odd = sorted({*own, *(options.keys() & _FIXED)})
    if odd:
        raise TypeError(
            f"retry() got unexpected keyword arguments: {', '.join(odd)}; a retry has the task's "
            "id, and its arguments in args and kwargs"
        )


#: Options of calls that a retry cannot have: it is the same task, sent by its own delivery.
_FIXED = frozenset({"task_id", "using", "add_to_parent"})


def by_hand(task: Task[..., Any], context: Context, error: Retry) -> Retry:
    """What ``raise Retry(…)`` without ``self.retry`` comes to: the same, by the same limit.

    Under Celery nothing sends it again. Raises what :func:`retry` does.
    """
    when: Any = error.when
    moment: dict[str, Any] = {"countdown" if isinstance(when, (int, float)) else "eta": when}
    made = retry(task, exc=error.exc, throw=False, options={}, **moment)
    context.unthrown_retry = None
    error.sig, error.when = made.sig, made.when
    return error


def check(task: Task[..., Any]) -> None:
    """Raises ``TypeError`` for automatic retries that could only fail when they are wanted."""
    for name in ("autoretry_for", "dont_autoretry_for"):
        kinds: Any = getattr(task, name) or ()
        if not isinstance(kinds, Iterable) or not all(
            isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
        ):
            raise TypeError(
                f"{name}={kinds!r} of {task.name}: write a tuple of exception classes, such as "
                "(ConnectionError,)."
            )


def automatic(task: Task[..., Any], context: Context, error: Exception) -> NoReturn:
    """What becomes of an exception that the body let go: a retry, or itself.

    ``Ignore`` and ``Retry`` are no errors; ``dont_autoretry_for`` beats ``autoretry_for``.
    """
    unwanted = (Ignore, Retry, *(task.dont_autoretry_for or ()))
    if isinstance(error, unwanted) or not isinstance(error, tuple(task.autoretry_for)):
        raise error
    options = dict(task.retry_kwargs or {})
    if task.retry_backoff:
        options["countdown"] = backoff(
            factor=int(max(1.0, float(task.retry_backoff))),
            retries=context.retries,
            maximum=int(task.retry_backoff_max),
            jitter=bool(task.retry_jitter),
        )
    if context.override_max_retries is not None:
        options["max_retries"] = context.override_max_retries
    raise task.retry(exc=error, **options)


def backoff(*, factor: int, retries: int, maximum: int, jitter: bool) -> int:
    """Seconds before a retry: ``factor * 2 ** retries``, at most ``maximum``; with ``jitter`` any
    whole number up to that."""
    # 2 ** retries would outgrow every number for a task that is retried for ever.
    countdown = maximum if retries > 64 else min(maximum, factor * 2**retries)
    if jitter:
        countdown = random.randrange(countdown + 1)  # noqa: S311 - no secret
    return max(0, countdown)


def _arguments(
    task: Task[..., Any],
    context: Context,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The next try's arguments: a half that is not given is kept, unless the given half names the
    same parameters (Celery 5.7)."""
    if args is None and kwargs is None and context.args is not None and context.kwargs is not None:
        # These very objects, by which next_letter knows that the letter's own are still good.
        return context.args, context.kwargs
    old_args, old_kwargs = context.args or (), context.kwargs or {}
    if args is None and kwargs is None:
        return old_args, old_kwargs
    if args is not None and kwargs is not None:
        return args, kwargs
    parameters = list(task.signature_of_run().parameters.values())
    if args is not None:
        kept = dict(old_kwargs)
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        for parameter in positional[: len(args)]:
            if parameter.kind == Parameter.POSITIONAL_OR_KEYWORD:
                kept.pop(parameter.name, None)
        return args, kept
    assert kwargs is not None  # noqa: S101 - the one case that is left
    changed, new_args = dict(kwargs), list(old_args)
    for index, parameter in enumerate(parameters[: len(new_args)]):
        if parameter.kind == Parameter.POSITIONAL_OR_KEYWORD and parameter.name in changed:
            new_args[index] = changed.pop(parameter.name)
    return new_args, {**changed}


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def _raise_from_current(error: BaseException) -> NoReturn:
    """Raise ``error`` with the exception under way as its cause, as Celery does."""
    current = sys.exc_info()[1]
    if current is None:
        raise error
    if current is error:
        raise error.with_traceback(current.__traceback__)
    raise error from current
