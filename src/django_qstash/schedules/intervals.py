"""``schedule``: every so often; and what all of Celery's schedules have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NoReturn

from django_qstash.application.current import app_or_default
from django_qstash.application.times import humanize_seconds, maybe_make_aware, maybe_timedelta
from django_qstash.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django_qstash.application.app import Celery

_NONE = timedelta()
_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class BaseSchedule:
    """What a schedule is asked: whether it is due, and how long until it is.

    ``nowfun`` tells the time in place of the clock; ``app`` is the ``Celery`` object whose time
    zone holds, by default the current one.
    """

    #: Celery compares schedules and does not hash them.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self._app = app

    @property
    def app(self) -> Celery:
        return app_or_default(self._app)

    @app.setter
    def app(self, app: Celery | None) -> None:
        self._app = app

    @property
    def tz(self) -> tzinfo:
        """The zone in whose hours and days the schedule is meant."""
        return self.app.timezone

    def now(self) -> datetime:
        return self.maybe_make_aware((self.nowfun or self.app.now)())

    def maybe_make_aware(self, dt: datetime) -> datetime:
        """The instant in :attr:`tz`; a datetime that names no zone is in UTC, as in Celery."""
        return maybe_make_aware(dt).astimezone(self.tz)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time later than ``moment``; ``None``: never."""
        raise NotImplementedError

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long it is until the time that follows ``last_run_at``; negative: it has passed.

        Raises ``RuntimeError`` if there is none.
        """
        following = self.next_after(self.maybe_make_aware(last_run_at))
        if following is None:
            raise RuntimeError(f"{self!r} has no next time.")
        # As instants: subtracting two times of one zone would leave out a change of its clock.
        return timedelta(seconds=following.timestamp() - self.now().timestamp())

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Whether it is due, and in how many seconds it is the next time."""
        left = self.remaining_estimate(last_run_at)
        if left > _NONE:
            return False, left.total_seconds()
        return True, max(self.remaining_estimate(self.now()).total_seconds(), 0)


class schedule(BaseSchedule):  # noqa: N801 - Celery's name
    """Every so many seconds, or every timedelta. Celery: ``celery.schedules.schedule``.

    ``relative`` rounds the time down to whole days, hours or minutes, whichever the interval is at
    least one of: every two hours is then at the full hour. Raises ``ValueError`` for none at all.
    """

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        every = maybe_timedelta(run_every)
        if not isinstance(every, timedelta) or every < _NONE:
            raise ValueError(f"schedule({run_every!r}): write seconds, or a timedelta.")
        self.run_every: timedelta = every
        self.relative = bool(relative)
        super().__init__(nowfun, app)

    def next_after(self, moment: datetime) -> datetime:
        if self.relative and self.run_every >= _DAY:
            # Days of the calendar, which a change of the clock makes longer or shorter.
            return (moment + self.run_every).replace(hour=0, minute=0, second=0, microsecond=0)
        following = datetime.fromtimestamp(
            moment.timestamp() + self.run_every.total_seconds(), moment.tzinfo
        )
        return _rounded(following, self.run_every) if self.relative else following

    @property
    def seconds(self) -> float:
        return self.run_every.total_seconds()

    @property
    def human_seconds(self) -> str:
        return humanize_seconds(self.seconds)

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        left = self.remaining_estimate(last_run_at)
        if left > _NONE:
            return False, left.total_seconds()
        following = self.remaining_estimate(self.now()) if self.relative else _NONE
        # Rounding down an interval below a second leads nowhere.
        return True, following.total_seconds() if following > _NONE else self.seconds

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return (self.run_every, self.relative) == (other.run_every, other.relative)
        return isinstance(other, timedelta) and self.run_every == other

    __hash__ = None

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __reduce__(self) -> Any:
        return type(self), (self.run_every, self.relative, self.nowfun)


def _rounded(moment: datetime, every: timedelta) -> datetime:
    if every >= _HOUR:
        return moment.replace(minute=0, second=0, microsecond=0)
    if every >= _MINUTE:
        return moment.replace(second=0, microsecond=0)
    return moment.replace(microsecond=0)


def maybe_schedule(s: Any, relative: bool = False, app: Any = None) -> Any:
    """Seconds or a timedelta as a :class:`schedule`; a schedule as it is, for ``app`` if given."""
    if s is None:
        return None
    if isinstance(s, (int, float, timedelta)):
        return schedule(s, relative, app=app)
    if app is not None and isinstance(s, BaseSchedule):
        s.app = app
    return s


def solar(*_: Any, **__: Any) -> NoReturn:
    """Celery's schedule of sunrise and sunset; raises :class:`ImproperlyConfigured`."""
    raise ImproperlyConfigured(
        "solar(…): QStash fires by the clock, and knows no sunrise. Let a daily task compute the "
        "moment and send the other with eta=…"
    )
