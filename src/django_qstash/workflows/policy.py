"""Which errors are tried again, how often, and after how long."""

from __future__ import annotations

import logging
import random
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from numbers import Real
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist

from django_qstash import clock, durations
from django_qstash.exceptions import (
    IdempotencyConflict,
    NonDeterminismError,
    NonRetryableError,
    PersistenceOff,
    RetryAfter,
    RunCanceled,
    RunFailed,
    RunTimeout,
    StepFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

logger = logging.getLogger("django_qstash.workflows")

#: Trying again would end in the same way: a mistake in the code or in what it was given.
PERMANENT: tuple[type[BaseException], ...] = (
    NonRetryableError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    ObjectDoesNotExist,
    # Recorded: the next replay would raise them again.
    StepFailed,
    RunFailed,
    RunCanceled,
    RunTimeout,
    # The code is to be mended, and the run resumed.
    NonDeterminismError,
    IdempotencyConflict,
    PersistenceOff,
)
#: HTTP 4xx that are worth another try: time-out, too early, too many requests.
PASSING_STATUSES = frozenset({408, 425, 429})
#: Seconds of a hundred years. A longer pause would end where there are no dates any more.
FOREVER = 36525 * 86400.0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a step, or a body, is tried, and the delays between.

    ``max_attempts`` counts the first one. The delay before attempt n+1 is ``initial * backoff **
    (n - 1)`` seconds, at most ``maximum``, lengthened at random by up to the share ``jitter``.
    Durations are seconds, timedeltas or texts such as ``"5m"``. ``non_retryable`` are further
    exception classes that end it at once; ``should_retry(error)`` decides where no class does.

    Raises ``ValueError`` for what makes no sense.
    """

    max_attempts: int = 4
    initial: float = 1
    backoff: float = 2
    maximum: float = 300
    jitter: float = 0.1
    non_retryable: Sequence[type[BaseException]] = ()
    should_retry: Callable[[BaseException], bool] | None = None

    def __post_init__(self) -> None:
        count: Any = self.max_attempts
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"max_attempts={count!r} must be a whole number of at least 1.")
        for name in ("initial", "maximum"):
            try:
                seconds = durations.seconds(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}.") from None
            object.__setattr__(self, name, seconds)
        if not _is_number(self.backoff) or not self.backoff >= 1:
            raise ValueError(f"backoff={self.backoff!r} must be a number of at least 1.")
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter={self.jitter!r} must be a share, a number between 0 and 1.")
        object.__setattr__(self, "non_retryable", _classes(self.non_retryable))
        if self.should_retry is not None and not callable(self.should_retry):
            raise ValueError("should_retry must be a function of the exception.")

    def delay(self, attempt: int) -> float:
        """Seconds between attempt number ``attempt`` (1 is the first) and the next one."""
        if not self.initial:
            return 0.0
        try:
            pause = min(self.maximum, self.initial * float(self.backoff) ** (attempt - 1))
        except OverflowError:
            # Long after the maximum was reached.
            pause = self.maximum
        return pause * (1 + random.uniform(0, self.jitter))  # noqa: S311 - spreads load

    def next_attempt(self, error: BaseException, attempt: int) -> float | None:
        """Seconds until the next attempt after number ``attempt`` failed; ``None``: give up.

        Never raises: the error that is asked about would be lost.
        """
        if attempt >= self.max_attempts or not self.accepts(error):
            return None
        pause = next(
            (_wish(each) for each in chain_of(error) if isinstance(each, RetryAfter)), None
        )
        return min(self.delay(attempt) if pause is None else pause, FOREVER)

    def accepts(self, error: BaseException) -> bool:
        """True if this error is worth another attempt. Never raises."""
        if isinstance(error, RetryAfter):
            return True
        errors = list(chain_of(error))
        permanent = (*PERMANENT, *self.non_retryable)
        if any(isinstance(each, permanent) for each in errors):
            return False
        if any(is_refusal(each) or is_not_found(each) for each in errors):
            return False
        if self.should_retry is None:
            return True
        try:
            return bool(self.should_retry(error))
        except Exception:
            logger.exception(
                "should_retry raised about %s; it is not tried again.", type(error).__name__
            )
            return False


def make_policy(
    *,
    retries: int | None = None,
    max_attempts: int | None = None,
    retry: RetryPolicy | None = None,
    otherwise: RetryPolicy | None = None,
) -> RetryPolicy | None:
    """The policy that options ask for, ``otherwise`` if they say nothing.

    ``retries=n`` is ``max_attempts=n + 1``. Raises ``ValueError`` where two of them are given.
    """
    said = {"retries": retries, "max_attempts": max_attempts, "retry": retry}
    given = [name for name, value in said.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} both say how often to try; give one of them.")
    if retry is not None:
        wrong: Any = retry
        if not isinstance(wrong, RetryPolicy):
            raise ValueError(f"retry={retry!r} must be a RetryPolicy.")
        return retry
    count: Any = max_attempts
    if retries is not None:
        count = retries
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"retries={retries!r} must be a whole number of at least 0.")
        count += 1
    return otherwise if count is None else RetryPolicy(max_attempts=count)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it was raised ``from``."""
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def is_refusal(error: BaseException) -> bool:
    """True for an HTTP client's exception about a 4xx answer that another try will not change.

    httpx and requests keep the answer as ``response.status_code``, urllib has ``code``.
    """
    try:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None and hasattr(error, "headers"):
            status = getattr(error, "code", None)
    except Exception:  # noqa: BLE001 - some classes answer for every attribute, and fail
        return False
    return isinstance(status, int) and 400 <= status < 500 and status not in PASSING_STATUSES


def is_not_found(error: BaseException) -> bool:
    """True for Django's ``Http404``: what ``get_object_or_404`` raises in a step."""
    # Its module loads the ORM; while nobody has loaded it, no exception can be one.
    http = sys.modules.get("django.http.response")
    return http is not None and isinstance(error, http.Http404)


def until(when: float | str | timedelta | datetime) -> float:
    """Seconds until ``when``: a duration from now, or an instant. Never negative.

    A datetime without a zone is in the site's TIME_ZONE.
    """
    if isinstance(when, datetime):
        from django_qstash.tasks.options import instant

        return max(0.0, instant(when) - clock.time())
    return durations.seconds(when)


def _wish(error: RetryAfter) -> float | None:
    """The pause that it asks for; ``None`` if that cannot be read."""
    try:
        return until(error.when)
    except Exception:
        logger.exception("%s says no time; the policy's delay is taken.", type(error).__name__)
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _classes(given: Any) -> tuple[type[BaseException], ...]:
    """The classes of ``non_retryable``. Raises ``ValueError``."""
    try:
        classes = (given,) if isinstance(given, type) else tuple(given)
    except TypeError:
        classes = (None,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
        raise ValueError(f"non_retryable={given!r} must be exception classes, such as (OSError,).")
    return classes
