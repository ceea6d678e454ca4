"""Every error and every interrupt of django-qstash that a user may meet.

Where Celery has a name for it, the name and the bases are Celery's, so that an ``except`` clause
that was written for Celery still catches.

::

    Exception
    ├── DjangoQStashError                 root of what is ours alone
    │   ├── PublishError                  QStash could not be reached, or refused a message
    │   ├── EncodeError (TypeError)       a value that JSON cannot carry
    │   ├── PayloadTooLarge (ValueError)  a letter over DJANGO_QSTASH_MAX_PAYLOAD_SIZE
    │   ├── OptionError (ValueError)      a delivery option that QStash would not understand
    │   ├── CronError (ValueError)        a cron expression that QStash would refuse
    │   ├── MessageError (ValueError)     a body that is not a letter of ours
    │   │   └── NewerMessageError         … or one that a newer version wrote
    │   ├── SignatureError                a delivery that QStash did not sign for us
    │   ├── Unavailable                   the database was in the way; deliver again
    │   ├── ResultsNotInstalled           results were asked for without the results app
    │   └── WorkflowError                 root of what workflows raise
    │       ├── StepFailed                a step has failed for good; raised into the body
    │       ├── RunFailed                 a run has failed
    │       ├── RunCanceled               a run was canceled
    │       ├── RunTimeout (TimeoutError) a run, or the wait for one, took too long
    │       ├── NonRetryableError         raised by a step or body: do not try again
    │       ├── RetryAfter                raised by a step or body: try again then
    │       ├── InputValidationError (ValueError)
    │       ├── UnknownWorkflowError (KeyError)
    │       ├── NonDeterminismError       the body asks for other steps than are recorded
    │       ├── IdempotencyConflict       the same run id or key with different data
    │       └── PersistenceOff            what needs runs in the database, where messages carry them
    ├── CeleryError
    │   ├── TaskPredicate                 raised by a task to say what became of it
    │   │   ├── Retry
    │   │   ├── Ignore
    │   │   └── Reject
    │   ├── TaskError
    │   │   ├── NotRegistered (KeyError)
    │   │   ├── AlreadyRegistered
    │   │   ├── TimeoutError
    │   │   ├── MaxRetriesExceededError
    │   │   ├── TaskRevokedError
    │   │   ├── InvalidTaskError
    │   │   ├── IncompleteStream
    │   │   └── ChordError
    │   └── ImproperlyConfigured          also Django's ImproperlyConfigured
    ├── WorkerLostError
    ├── SoftTimeLimitExceeded
    └── TimeLimitExceeded
    BaseException
    └── Interrupt                         unwinds user code; ``except Exception`` must not catch it
        ├── HardTimeLimit
        ├── LeaseLost
        └── Suspend                       a workflow's body pauses here

    UserWarning
    └── CeleryWarning
        ├── AlwaysEagerIgnored
        └── DuplicateTaskNameWarning
"""

from __future__ import annotations

import builtins
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured as DjangoImproperlyConfigured

from django_qstash import durations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "CronError",
    "DjangoQStashError",
    "DuplicateTaskNameWarning",
    "EncodeError",
    "HardTimeLimit",
    "IdempotencyConflict",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InputValidationError",
    "Interrupt",
    "InvalidTaskError",
    "LeaseLost",
    "MaxRetriesExceededError",
    "MessageError",
    "NewerMessageError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotRegistered",
    "OptionError",
    "PayloadTooLarge",
    "PersistenceOff",
    "PublishError",
    "Reject",
    "ResultsNotInstalled",
    "Retry",
    "RetryAfter",
    "RunCanceled",
    "RunFailed",
    "RunTimeout",
    "SignatureError",
    "SoftTimeLimitExceeded",
    "StepFailed",
    "Suspend",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
    "Unavailable",
    "UnknownWorkflowError",
    "WorkerLostError",
    "WorkflowError",
]


class DjangoQStashError(Exception):
    """Root of the errors that Celery has no name for."""


class PublishError(DjangoQStashError):
    """A message did not reach QStash. The text names the URL and says what to check.

    ``status`` is the HTTP status that QStash answered with, ``None`` if it did not answer. Where a
    group was sent in part, ``sent`` and ``unsent`` are the ids of its tasks.
    """

    status: int | None = None
    sent: Sequence[str] = ()
    unsent: Sequence[str] = ()

    @property
    def is_refusal(self) -> bool:
        """True if QStash said no to the message itself: sent again, it would say so again."""
        return self.status is not None and 400 <= self.status < 500 and self.status != 429


class EncodeError(DjangoQStashError, TypeError):
    """A value that JSON cannot carry. Celery: ``kombu.exceptions.EncodeError``."""


class PayloadTooLarge(DjangoQStashError, ValueError):
    """A letter is larger than ``DJANGO_QSTASH_MAX_PAYLOAD_SIZE``; nothing was sent."""


class OptionError(DjangoQStashError, ValueError):
    """A delivery option has a value that QStash would refuse or misread."""


class CronError(DjangoQStashError, ValueError):
    """A cron expression that QStash would refuse or misread.

    ``text`` is the expression, ``position`` the index of the first character that is wrong in it,
    and ``reason`` says what is wrong there.
    """

    def __init__(self, reason: str, text: str = "", position: int = 0) -> None:
        self.reason = reason
        self.text = text
        self.position = position
        super().__init__(reason, text, position)

    def __str__(self) -> str:
        return f"{self.text!r}, character {self.position + 1}: {self.reason}."


class MessageError(DjangoQStashError, ValueError):
    """The body of a delivery is not a letter that this version understands."""


class NewerMessageError(MessageError):
    """The letter was written by a newer django-qstash; a process of that version can read it."""


class SignatureError(DjangoQStashError):
    """The delivery was not signed by QStash for this address, with these bytes, just now."""


class Unavailable(DjangoQStashError):
    """A lock, a deadlock or a lost connection was in the way: no task's failure, deliver again."""


class ResultsNotInstalled(DjangoQStashError):
    """Results are kept by the app ``django_qstash.results``, which is not in INSTALLED_APPS."""

    def __init__(self, wanted: str = "Task results") -> None:
        super().__init__(wanted)

    def __str__(self) -> str:
        return (
            f"{self.args[0]} need the results app: add 'django_qstash.results' to INSTALLED_APPS "
            "and run 'manage.py migrate'."
        )


class WorkflowError(DjangoQStashError):
    """Root of what workflows raise, and what is wrong with how one is written or asked for."""


class StepFailed(WorkflowError):
    """A step has failed for good. Recorded, so that a replay raises it at the same place again.

    ``step_id`` is the step's, ``attempts`` how often it was tried; ``__cause__`` is the exception
    of its last attempt, as its own class where that is imported and safe.
    """

    def __init__(self, message: str = "", *, step_id: str = "", attempts: int = 0) -> None:
        self.step_id = step_id
        self.attempts = attempts
        super().__init__(message)


class RunFailed(WorkflowError):
    """The run ``run_id`` has failed; ``__cause__`` is the exception that ended it.

    ``step_id`` is the step of a parent that waited for it, and raises this into the parent's body.
    """

    def __init__(self, message: str = "", *, run_id: str = "", step_id: str = "") -> None:
        self.run_id = run_id
        self.step_id = step_id
        super().__init__(message)


class RunCanceled(WorkflowError):
    """The run ``run_id`` was canceled; the text holds the reason that was given."""

    def __init__(self, message: str = "", *, run_id: str = "", step_id: str = "") -> None:
        self.run_id = run_id
        self.step_id = step_id
        super().__init__(message)


class RunTimeout(WorkflowError, builtins.TimeoutError):
    """A run did not end in time: by its ``timeout``, or for whoever waits for it."""

    def __init__(self, message: str = "", *, run_id: str = "", step_id: str = "") -> None:
        self.run_id = run_id
        self.step_id = step_id
        super().__init__(message)


class NonRetryableError(WorkflowError):
    """Raised by a step or a body: trying again is of no use. Also as the ``__cause__`` of one."""


class RetryAfter(WorkflowError):
    """Raised by a step or a body: try again then, whatever the policy's delay.

    ``RetryAfter(30)`` counts seconds from now, as do ``RetryAfter("5m")`` and a timedelta; what is
    negative is at once. A datetime is an instant; one without a zone is in the site's TIME_ZONE.

    Raises ``TypeError`` for what is none of these.
    """

    def __init__(self, when: float | str | timedelta | datetime, message: str = "") -> None:
        self.when = _pause_or_instant(when)
        self.message = message
        super().__init__(when, message)

    def __str__(self) -> str:
        return self.message or f"to be tried again: {self.when}"


def _pause_or_instant(when: Any) -> Any:
    if isinstance(when, datetime):
        return when
    length = when.total_seconds() if isinstance(when, timedelta) else when
    if isinstance(length, (int, float)) and length < 0:
        return 0
    try:
        durations.seconds(when)
    except ValueError:
        raise TypeError(
            f"RetryAfter({when!r}) says no time: give seconds, a text such as '5m', a timedelta or "
            "a datetime."
        ) from None
    return when


class InputValidationError(WorkflowError, ValueError):
    """What a workflow was given is not what its ``input=`` accepts."""


class UnknownWorkflowError(WorkflowError, KeyError):
    """No workflow of this name is registered in this process."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NonDeterminismError(WorkflowError):
    """The body asks for something else than is recorded under a step's id; the text names both.

    ``step`` is the step's id, ``recorded`` and ``asked`` are the two, in words; ``""`` if unknown.
    """

    def __init__(
        self, message: str = "", *, step: str = "", recorded: str = "", asked: str = ""
    ) -> None:
        self.step = step
        self.recorded = recorded
        self.asked = asked
        super().__init__(message)


class IdempotencyConflict(WorkflowError):
    """A run of this id or idempotency key exists, and was started with different data."""


class PersistenceOff(WorkflowError):
    """What is asked for needs runs that are kept in the database, and their messages carry them.

    That is so without ``django_qstash.workflows`` in INSTALLED_APPS, and with
    ``DJANGO_QSTASH_WORKFLOW_PERSISTENCE`` off.
    """


class CeleryError(Exception):
    """Root of the errors that carry Celery's names."""


class TaskPredicate(CeleryError):
    """Raised inside a task to say what became of it; not a failure."""


class Retry(TaskPredicate):
    """The task is to be run again. Raised by ``Task.retry``."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        self.message = message
        self.exc: BaseException | None = exc if isinstance(exc, BaseException) else None
        self.excs: str | None = exc if isinstance(exc, str) or exc is None else repr(exc)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(exc, when, **kwargs)

    def humanize(self) -> str:
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"


class Ignore(TaskPredicate):
    """The task's outcome is not to be recorded."""


class Reject(TaskPredicate):
    """The task refuses its message; with ``requeue`` it is to be delivered again."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class TaskError(CeleryError):
    """Root of the errors about tasks."""


class NotRegistered(TaskError, KeyError):
    """No task of this name is registered in this process."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "Task not registered."


class AlreadyRegistered(TaskError):
    """A task of this name exists already."""


class TimeoutError(TaskError, builtins.TimeoutError):  # noqa: A001 - Celery's name
    """The result did not come in time. Also a built-in ``TimeoutError``, which Celery's is not."""


class MaxRetriesExceededError(TaskError):
    """``Task.retry`` was called more often than ``max_retries`` allows."""

    def __init__(
        self,
        *args: Any,
        task_args: Sequence[Any] = (),
        task_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.task_args = task_args
        self.task_kwargs = dict(task_kwargs or {})
        super().__init__(*args)


class TaskRevokedError(TaskError):
    """The task was revoked, or expired, before it ran."""


class InvalidTaskError(TaskError):
    """A task's message or arguments do not fit the task."""


class IncompleteStream(TaskError):
    """The tree of results was asked for before every task in it had ended."""


class ChordError(TaskError):
    """A task in the header of a chord failed, so that the body cannot run."""


class ImproperlyConfigured(CeleryError, DjangoImproperlyConfigured):
    """A setting is missing or wrong; the text says which, and what to write."""


class WorkerLostError(Exception):
    """The process that ran the task died, or QStash gave its message up. Celery: billiard's."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task that has run for longer than its ``soft_time_limit``."""


class TimeLimitExceeded(Exception):
    """The task ran for longer than its ``time_limit``; its late result is dropped."""


class Interrupt(BaseException):
    """Unwinds user code. A ``BaseException``: a task's ``except Exception`` must not swallow it."""


class HardTimeLimit(Interrupt):
    """The task's ``time_limit`` has passed; recorded as :class:`TimeLimitExceeded`."""


class LeaseLost(Interrupt):
    """Another delivery has taken this task over; whatever this one does now would not count."""


class Suspend(Interrupt):
    """The body of a workflow pauses here, and is run again when what it waits for has come.

    A ``BaseException``: let it pass. What the body does in ``finally`` runs at each pause.
    """


class CeleryWarning(UserWarning):
    """Root of the warnings that carry Celery's names."""


class AlwaysEagerIgnored(CeleryWarning):
    """``send_task`` was called while tasks are eager; it sends all the same."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two different functions were registered under one task name; the first stays."""
