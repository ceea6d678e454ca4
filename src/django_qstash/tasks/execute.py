"""Running a task's body, and what Celery promises around it: hooks, signals, their order."""

from __future__ import annotations

import inspect
import logging
import time
import traceback as traceback_module
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from django_qstash import signals, states
from django_qstash.conf import settings
from django_qstash.exceptions import (
    HardTimeLimit,
    Ignore,
    Reject,
    Retry,
    TaskRevokedError,
    TimeLimitExceeded,
    Unavailable,
)
from django_qstash.tasks import limits
from django_qstash.tasks import retry as retries
from django_qstash.tasks.failure import text_of
from django_qstash.tasks.request import Context, running
from django_qstash.tasks.transient import is_transient

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage
    from django_qstash.tasks.task import Task

logger = logging.getLogger("django_qstash.tasks")

#: Characters of arguments, or of a result, in a line of the log.
LOGGED = 1000
#: States after which neither ``after_return`` nor a result hook is called (Celery).
_SILENT = frozenset({states.RETRY, states.IGNORED, states.REJECTED})


@dataclass(slots=True)
class ExceptionInfo:
    """An exception with its traceback as text. Celery: billiard's ``ExceptionInfo``."""

    exception: BaseException
    traceback: str

    @property
    def type(self) -> type[BaseException]:
        return type(self.exception)

    @property
    def tb(self) -> TracebackType | None:
        return self.exception.__traceback__

    def __str__(self) -> str:
        return self.traceback


@dataclass(slots=True)
class Outcome:
    """What the body came to: a state, and the value that it returned or the exception it raised."""

    state: str
    value: Any = None
    einfo: ExceptionInfo | None = None
    #: Seconds that the body took.
    runtime: float = 0.0
    #: The letters that this outcome owes.
    follow: Sequence[TaskMessage] = field(default_factory=tuple)

    @property
    def exception(self) -> BaseException | None:
        return self.einfo.exception if self.einfo else None

    @property
    def traceback(self) -> str | None:
        return self.einfo.traceback if self.einfo else None


def run(
    task: Task[..., Any], context: Context, *, on_hard: Callable[[], None] | None = None
) -> Outcome:
    """Run the body under ``context``, hooks before it included; never raises the body's error.

    ``on_hard`` is called, from another thread, when the hard time limit passes. Raises
    :class:`Unavailable` when the database was in the way, and lets other interrupts pass.
    """
    with running(task, context):
        _log("Task %s[%s] begins%s", task, context, context.args, context.kwargs)
        signals.task_prerun.emit(
            task,
            task_id=context.id,
            task=task,
            args=context.args,
            kwargs=context.kwargs,
        )
        began = time.monotonic()
        outcome = _outcome(task, context, on_hard)
        if context.timed_out and not isinstance(outcome.exception, TimeLimitExceeded):
            # The body has caught what was to stop it; what it comes to now is too late.
            outcome = failure(TimeLimitExceeded(context.time_limit))
        outcome.runtime = time.monotonic() - began
        wanted = context.unthrown_retry
        if wanted is not None and outcome.exception is not wanted and wanted.sig.letter:
            # self.retry(throw=False): the task has ended in its own way, and is run again as well.
            outcome.follow = (*outcome.follow, _as_another_run(wanted.sig.letter))
    return outcome


def conclude(task: Task[..., Any], context: Context, outcome: Outcome) -> None:
    """Tell hooks and signals, in Celery's order, what was recorded.

    Their errors are logged, but in an eager task they rise, as in Celery.
    """
    args, kwargs = context.args or (), context.kwargs or {}
    task_id = str(context.id)
    returned = outcome.value if outcome.einfo is None else outcome.exception
    strict = context.is_eager
    # A message that the task refused for good: recorded as a failure, but no hook is told (Celery).
    rejected = outcome.state == states.FAILURE and isinstance(outcome.exception, Reject)
    state = states.REJECTED if rejected else outcome.state
    with running(task, context):
        try:
            if outcome.state == states.SUCCESS:
                took = f"Task %s[%s] succeeded in {outcome.runtime:.3f} s%s"
                _log(took, task, context, outcome.value)
                _hook(strict, task.on_success, outcome.value, task_id, args, kwargs)
                signals.task_success.emit(task, result=outcome.value, runtime=outcome.runtime)
            elif outcome.state == states.RETRY:
                _tell_retry(task, context, outcome)
            elif state == states.FAILURE and outcome.einfo is not None:
                _tell_failure(task, context, outcome.einfo)
            if state not in _SILENT:
                _hook(strict, task.after_return, state, returned, task_id, args, kwargs, None)
        finally:
            signal_end(task, context, returned, state)
        if rejected and outcome.einfo is not None:
            _signal_failure(task, context, outcome.einfo)


def signal_end(
    task: Task[..., Any], context: Context, returned: Any = None, state: str | None = None
) -> None:
    """Send ``task_postrun``; with no state for a call that is left by its exception."""
    signals.task_postrun.emit(
        task,
        task_id=str(context.id),
        task=task,
        args=context.args or (),
        kwargs=context.kwargs or {},
        retval=returned,
        state=state,
    )


def failure(error: BaseException) -> Outcome:
    """The outcome FAILURE for an exception that was raised, or is about to be told."""
    return Outcome(states.FAILURE, error, ExceptionInfo(error, format_traceback(error)))


def revoked(reason: str) -> Outcome:
    """The outcome REVOKED for a task that is not to be run."""
    error = TaskRevokedError(reason)
    return Outcome(states.REVOKED, error, ExceptionInfo(error, ""))


def format_traceback(error: BaseException) -> str:
    """The traceback as text, without the frames of this package that only lead to the body."""
    try:
        lines = traceback_module.format_exception(type(error), error, _body_tb(error))
    except Exception:  # noqa: BLE001 - the classes of all in its chain have their say in it
        return f"{type(error).__qualname__}: {text_of(error)}\n"
    return "".join(lines)


def _body_tb(error: BaseException) -> TracebackType | None:
    tb = error.__traceback__
    while tb is not None and tb.tb_next and _is_ours(tb):
        tb = tb.tb_next
    return tb


def call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    timelimit: Sequence[float | None] = (None, None),
    on_hard: Callable[[], None] | None = None,
) -> Any:
    """Call a body to its end, ``async def`` ones included, within its (hard, soft) limits."""
    hard, soft = timelimit
    if (hard or soft) and not inspect.iscoroutinefunction(function):
        with limits.limited(hard, soft, on_hard=on_hard):
            value = function(*args, **kwargs)
    else:
        value = function(*args, **kwargs)
    if value is None:
        return None
    if inspect.iscoroutine(value) or inspect.iscoroutinefunction(function):
        # Also that of an overridden __call__, or of a wrapper, around an async def body.
        return _call_async(value, timelimit, on_hard)
    return value


def _call_async(
    coroutine: Any, timelimit: Sequence[float | None], on_hard: Callable[[], None] | None
) -> Any:
    from asgiref.sync import async_to_sync

    if any(timelimit):
        return async_to_sync(limits.cancelled_at)(coroutine, timelimit, on_hard)
    return async_to_sync(_awaited)(coroutine)


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def _outcome(task: Task[..., Any], context: Context, on_hard: Callable[[], None] | None) -> Outcome:
    try:
        task.before_start(str(context.id), context.args, context.kwargs)
        return Outcome(states.SUCCESS, _call_body(task, context, on_hard))
    except Reject as error:
        if error.requeue or context.is_eager:
            return Outcome(states.REJECTED, error, ExceptionInfo(error, format_traceback(error)))
        return Outcome(states.FAILURE, error, ExceptionInfo(error, ""))
    except Ignore as error:
        einfo = ExceptionInfo(error, format_traceback(error))
        return Outcome(states.IGNORED, error, einfo, follow=tuple(context.replacement))
    except Retry as error:
        return _retry(task, context, error)
    except HardTimeLimit:
        return failure(TimeLimitExceeded(context.time_limit))
    except Exception as error:
        if is_transient(error) and not context.is_eager:
            raise Unavailable(str(error)) from error
        return failure(error)


def _call_body(task: Task[..., Any], context: Context, on_hard: Callable[[], None] | None) -> Any:
    args, kwargs = context.args or (), context.kwargs or {}
    timelimit = (context.time_limit, context.soft_time_limit)
    body = task.body()
    if body is not task:
        # A body that calls its own task calls it directly; an overridden __call__ comes to it yet.
        context.enter_body()
    try:
        return call(body, args, kwargs, timelimit, on_hard)
    except Exception as error:
        if not task.autoretry_for:
            raise
        retries.automatic(task, context, error)


def _retry(task: Task[..., Any], context: Context, error: Retry) -> Outcome:
    if not isinstance(error.sig, retries.NextCall):
        try:
            retries.by_hand(task, context, error)
        except Exception as over:  # noqa: BLE001 - it may be any that the task gave
            return failure(over)
    letter = error.sig.letter
    follow = () if letter is None else (letter,)
    einfo = ExceptionInfo(error, format_traceback(error))
    return Outcome(states.RETRY, error, einfo, follow=follow)


def _as_another_run(letter: TaskMessage) -> TaskMessage:
    from django_qstash.messages import derived_run

    return letter.but(run=derived_run(letter.run, "retry", letter.retries))


def _tell_retry(task: Task[..., Any], context: Context, outcome: Outcome) -> None:
    reason = outcome.exception
    assert isinstance(reason, Retry)  # noqa: S101 - the state says so
    assert outcome.einfo is not None  # noqa: S101
    _hook(
        context.is_eager,
        task.on_retry,
        reason.exc,
        str(context.id),
        context.args,
        context.kwargs,
        outcome.einfo,
    )
    signals.task_retry.emit(task, request=context, reason=reason, einfo=outcome.einfo)
    logger.info("Task %s[%s] retry: %s", task.name, context.id, reason)


def _tell_failure(task: Task[..., Any], context: Context, einfo: ExceptionInfo) -> None:
    args, kwargs = context.args or (), context.kwargs or {}
    error = einfo.exception
    expected: Any = task.throws or ()
    # One class will do, as in Celery.
    if isinstance(error, expected if isinstance(expected, type) else tuple(expected)):
        logger.info("Task %s[%s] raised expected: %r", task.name, context.id, error)
    else:
        trimmed = (type(error), error, _body_tb(error))
        logger.error(
            "Task %s[%s] raised unexpected: %r", task.name, context.id, error, exc_info=trimmed
        )
    _hook(context.is_eager, task.on_failure, error, str(context.id), args, kwargs, einfo)
    _signal_failure(task, context, einfo)


def _signal_failure(task: Task[..., Any], context: Context, einfo: ExceptionInfo) -> None:
    signals.task_failure.emit(
        task,
        task_id=str(context.id),
        exception=einfo.exception,
        args=context.args or (),
        kwargs=context.kwargs or {},
        traceback=einfo.tb,
        einfo=einfo,
    )


def _log(text: str, task: Task[..., Any], context: Context, *values: Any) -> None:
    """A line for those who want to read of every task; arguments and results only if asked for."""
    if not logger.isEnabledFor(logging.INFO):
        return
    shown = ""
    if settings.DJANGO_QSTASH_LOG_TASK_ARGS:
        reprs = (context.argsrepr, context.kwargsrepr) if len(values) == 2 else (None,)
        told = [text or repr(value) for text, value in zip(reprs, values, strict=True)]
        shown = f": {' '.join(told)[:LOGGED]}"
    logger.info(text, context.shadow or task.name, context.id, shown)


def _hook(strict: bool, hook: Callable[..., Any], *args: Any) -> None:
    try:
        hook(*args)
    except Exception:
        if strict:
            raise
        logger.exception("The hook %s of a task raised.", getattr(hook, "__qualname__", hook))


def _is_ours(tb: TracebackType) -> bool:
    name = str(tb.tb_frame.f_globals.get("__name__", ""))
    return name.startswith(("django_qstash.tasks.", "asgiref.", "concurrent."))
