"""A fire arrives: is it to run, is it its turn, and as which task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import router

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import MessageError, OptionError, PublishError
from django_qstash.schedules import runs
from django_qstash.schedules.envelope import copy_of
from django_qstash.schedules.letter import ScheduleLetter, task_id_of
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule
from django_qstash.schedules.timetable import Timetable
from django_qstash.tasks import given_up as task_given_up
from django_qstash.tasks import send
from django_qstash.tasks.receive import MARGIN, unpublished
from django_qstash.tasks.receive import receive as receive_task
from django_qstash.tasks.store import get_store
from django_qstash.tasks.triggers import ALLOW, SKIP
from django_qstash.wire.delivery import Delivery, Reply

logger = logging.getLogger("django_qstash.schedules")

#: Seconds until a fire that waits for its turn asks again: doubled each time, up to the second.
PAUSE, LONGEST_PAUSE = 10, 300


def receive(letter: Mapping[str, Any], delivery: Delivery) -> Reply:
    """Everything that a schedule's message brings about. Raises :class:`MessageError`."""
    fire = ScheduleLetter.from_dict(letter)
    message_id = fire.fire or delivery.message_id
    if not message_id:
        return Reply.failed(
            "no message id",
            "the header Upstash-Message-Id is missing, which tells one fire of a schedule from "
            "another; let the proxy before this site pass it on",
        )
    fire = fire.but(fire=message_id)
    try:
        reply = admit(fire)
    except PublishError as error:
        logger.warning("A fire of %r was not put off: %s", fire.name, error)
        return Reply.again("what follows could not be published")
    if reply is not None:
        return reply
    try:
        message = fire.message(message_id)
    except (OptionError, TypeError) as error:
        raise MessageError(f"The schedule {fire.name!r} cannot be run: {error}") from error
    return receive_task(message.as_dict(), delivery)


def given_up(callback: Mapping[str, Any], letter: Mapping[str, Any], delivery: Delivery) -> Reply:
    """QStash gave a fire up: it is sent again, or its task is failed. Raises MessageError."""
    fire = ScheduleLetter.from_dict(letter)
    message_id = fire.fire or str(callback.get("sourceMessageId") or "")
    if not message_id:
        raise MessageError("The failure callback names no sourceMessageId.")
    fire = fire.but(fire=message_id)
    message = fire.message(message_id).but(life=fire.life)
    store = get_store()
    began = not store.durable or runs.is_open(fire.task, message.id) is not None
    if began or callback.get("status") == 489 or fire.life >= task_given_up.LIVES:
        return task_given_up.receive(callback, message.as_dict(), delivery)
    try:
        # It has not begun, so whether it may is asked again.
        again = fire.but(life=fire.life + 1)
        send.post(copy_of(again, after=settings.DJANGO_QSTASH_LEASE + MARGIN))
    except PublishError as error:
        return unpublished(message, error)
    return Reply.done("sent again")


def admit(fire: ScheduleLetter) -> Reply | None:
    """``None`` if the fire is to run now; else the answer to it. Raises :class:`PublishError`."""
    alias = router.db_for_write(TaskSchedule)
    task_id = task_id_of(fire.id, fire.fire)
    rows = TaskSchedule.objects.using(alias).filter(schedule_id=fire.id)
    row = rows.only("id", "is_active", "last_task_id", "last_fire_at").first()
    if row is not None and row.last_task_id == task_id:
        return None  # it was let in before, and comes again
    store = get_store()
    if store.durable and runs.is_open(fire.task, task_id) is not None:
        return None
    if row is None:
        deleted = DeletedSchedule.objects.using(alias).filter(schedule_id=fire.id)
        if deleted.exists():
            return Reply.done("deleted", "the schedule was deleted")
        logger.warning("The schedule %r runs, and no row of this database knows it.", fire.name)
        return _not_today(fire)
    if not row.is_active:
        return Reply.done("paused", "the schedule is paused")
    if (reply := _not_today(fire)) is not None:
        return reply
    if fire.overlap == ALLOW or not store.durable:
        rows.update(last_task_id=task_id, last_fire_at=clock.now())
        return None
    return _in_turn(fire, row, rows, task_id)


def _not_today(fire: ScheduleLetter) -> Reply | None:
    if not fire.only_on:
        return None
    timetable = Timetable.parse(fire.cron, only_on=fire.only_on)
    # However late it comes, the fire belongs to the last time at which QStash was to send it.
    fired = timetable.last(clock.time() - fire.delay + settings.DJANGO_QSTASH_CLOCK_TOLERANCE)
    if fired is None or timetable.allows(fired):
        return None
    return Reply.done("not today", "the schedule's other condition does not hold on this day")


def _in_turn(fire: ScheduleLetter, row: Any, rows: Any, task_id: str) -> Reply | None:
    """Take the schedule's one place, or wait for it, or do without. Raises PublishError."""
    previous, since = row.last_task_id, row.last_fire_at
    if previous and _is_busy(fire, previous, since):
        if fire.overlap == SKIP:
            rows.update(skipped_at=clock.now())
            return Reply.done("skipped", "the run before it is still at work")
        return _later(fire)
    # Of two fires at once, one finds the place as it saw it.
    now = clock.now()
    if rows.filter(last_task_id=previous).update(last_task_id=task_id, last_fire_at=now):
        return None
    if fire.overlap == SKIP:
        rows.update(skipped_at=now)
        return Reply.done("skipped", "another run has just begun")
    return _later(fire)


def _is_busy(fire: ScheduleLetter, task_id: str, since: Any) -> bool:
    """True while a run is under way; one that was let in just now may not have begun yet.

    One whose process died, and that QStash delivers no more, never ends: it counts for a while.
    """
    is_open = runs.is_open(fire.task, task_id, settings.DJANGO_QSTASH_OVERLAP_LIMIT)
    if is_open is None:
        age = (clock.now() - since).total_seconds() if since is not None else 0
        return bool(age < settings.DJANGO_QSTASH_LEASE)
    return is_open


def _later(fire: ScheduleLetter) -> Reply:
    pause = min(PAUSE * 2 ** min(fire.p, 10), LONGEST_PAUSE)
    send.post(copy_of(fire.but(p=fire.p + 1), after=pause))
    return Reply.done("waiting", "the run before it is still at work; a copy comes later")
