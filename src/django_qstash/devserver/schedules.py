"""All schedules: made, replaced, paused, and fired at their times."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django_qstash.devserver.cron import Cron
from django_qstash.devserver.message import new_id
from django_qstash.devserver.refusal import Refusal, bad_request, not_found, over_quota
from django_qstash.devserver.schedule import IN_PROGRESS, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django_qstash.clock import Clock
    from django_qstash.devserver.journal import Journal
    from django_qstash.devserver.limits import Limits
    from django_qstash.devserver.message import Message, Spec
    from django_qstash.devserver.state import Published
    from django_qstash.devserver.timers import Timers


class Schedules:
    """The schedules by id, in the order in which they were made."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits,
        timers: Timers,
        journal: Journal,
        messages: Mapping[str, Message],
        resolve: Callable[[str], object],
        publish: Callable[[str, Spec], Published],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._timers = timers
        self._journal = journal
        self._messages = messages
        #: Raises :class:`Refusal` for a destination that cannot be published to.
        self._resolve = resolve
        self._publish = publish
        self._schedules: dict[str, Schedule] = {}

    def __len__(self) -> int:
        return len(self._schedules)

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self._schedules.values())

    def get(self, schedule_id: str) -> Schedule:
        """Raises :class:`Refusal` 404."""
        try:
            return self._schedules[schedule_id]
        except KeyError:
            raise not_found("schedule", schedule_id) from None

    def upsert(self, destination: str, spec: Spec, cron: str, schedule_id: str | None) -> Schedule:
        """Make a schedule, or replace every field of the one with that id.

        When it was made and whether it is paused stay. Raises :class:`Refusal` 400 and 412.
        """
        try:
            parsed = Cron.parse(cron)
        except ValueError as error:
            raise bad_request(f"invalid cron expression {cron.strip()!r}: {error}") from None
        self._resolve(destination)
        old = self._schedules.get(schedule_id or "")
        if old is None and len(self._schedules) >= self._limits.max_schedules:
            raise over_quota("maxSchedules", self._limits.max_schedules)
        schedule_id = schedule_id or new_id("scd")
        schedule = Schedule(
            id=schedule_id,
            cron=parsed,
            destination=destination,
            spec=replace(spec, schedule_id=schedule_id, not_before=None),
            created=old.created if old else self._clock.time(),
            paused=old.paused if old else False,
            last_time=old.last_time if old else None,
            last_states=old.last_states if old else {},
        )
        if old is not None:
            self._timers.clear(old)
        self.restore(schedule)
        self._keep(schedule)
        return schedule

    def restore(self, schedule: Schedule) -> None:
        """Let it fire from now on; ticks that were missed are not made up for."""
        self._schedules[schedule.id] = schedule
        self._arm(schedule)

    def pause(self, schedule: Schedule, *, paused: bool) -> None:
        """A paused schedule's ticks are dropped, not kept (QStash)."""
        schedule.paused = paused
        self._arm(schedule)
        self._keep(schedule)

    def delete(self, schedule_id: str) -> None:
        """Remove a schedule; nothing if there is none."""
        schedule = self._schedules.pop(schedule_id, None)
        if schedule is not None:
            self._timers.clear(schedule)
            self._journal.drop("schedule", schedule_id)

    def fire(self, schedule: Schedule) -> Published | None:
        """Publish a schedule's message now; ``None`` if that was refused, and it says why."""
        schedule.last_time = self._clock.time()
        schedule.last_states = {}
        schedule.error = ""
        published = None
        try:
            published = self._publish(schedule.destination, schedule.spec)
        except Refusal as refusal:
            schedule.error = refusal.text
        else:
            ids = [message_id for message_id, _ in published.receipts]
            schedule.last_states = dict.fromkeys(ids, IN_PROGRESS)
            # A duplicate of an earlier fire may be finished already.
            for message_id in ids:
                if (message := self._messages.get(message_id)) is not None:
                    schedule.note(message)
        self._keep(schedule)
        return published

    def note(self, message: Message) -> None:
        """Take over the outcome of a message that a schedule published."""
        schedule = self._schedules.get(message.spec.schedule_id or "")
        if schedule is not None and schedule.note(message):
            self._keep(schedule)

    def _keep(self, schedule: Schedule) -> None:
        self._journal.keep("schedule", schedule.id, schedule)

    def _arm(self, schedule: Schedule) -> None:
        schedule.next_time = None
        if schedule.paused:
            self._timers.clear(schedule)
            return
        try:
            schedule.next_time = schedule.cron.next(self._clock.time())
        except ValueError as error:
            # No such day within the years that are looked at: it stops, and says so.
            schedule.error = f"no further fire: {error}"
            self._timers.clear(schedule)
            return
        self._timers.set(schedule, schedule.next_time, self._tick)

    def _tick(self, schedule: Schedule) -> None:
        self._arm(schedule)
        self.fire(schedule)
