"""One row and its schedule at QStash are brought together; what went wrong is kept on the row.

Everything here may be done twice: ids are chosen beforehand, and QStash replaces what has one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from django_qstash import clock
from django_qstash.conf import settings, under_test
from django_qstash.exceptions import (
    CronError,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    OptionError,
    PayloadTooLarge,
    PublishError,
)
from django_qstash.schedules import remote
from django_qstash.schedules.envelope import envelope_of, fingerprint
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule
from django_qstash.tasks.outbox import AfterCommit
from django_qstash.tasks.registry import tasks
from django_qstash.transport import get_transport
from django_qstash.transport.address import is_loopback
from django_qstash.transport.kept import KeptSchedules

logger = logging.getLogger("django_qstash.schedules")

#: How often a row may change while QStash is being told of it.
PATIENCE = 5
_WRONG = (
    CronError,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    OptionError,
    PayloadTooLarge,
    PublishError,
    TypeError,
    ValueError,
)


class ForeignError(PublishError):
    """QStash has a schedule of this id that fires at another address."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of telling QStash."""

    #: What was done, such as ``"created"``; empty: nothing had to be.
    done: str = ""
    error: str = ""


def push_on_commit(schedule_id: str, using: str) -> None:
    """Tell QStash of a row when its transaction has been committed; at once outside of any."""
    if _speaks_unasked():
        transaction.on_commit(AfterCommit(partial(push, schedule_id, using)), using=using)


def push(schedule_id: str, using: str, *, found: remote.Remote | str | None = "ask") -> Pushed:
    """Tell QStash of a row as it is now. Raises nothing: the row says what went wrong.

    ``found`` is what QStash is known to have, if somebody has asked already.
    """
    rows = TaskSchedule.objects.using(using).filter(schedule_id=schedule_id)
    done: list[str] = []
    for _ in range(PATIENCE):
        row = rows.first()
        if row is None:
            return _gone(schedule_id, done)
        try:
            known = remote.get(schedule_id) if isinstance(found, str) else found
            wanted = envelope_of(row)
            tasks.find(row.task_name)
            active = _bring_together(row, known, wanted, done)
        except _WRONG as error:
            rows.filter(revision=row.revision).update(sync_error=str(error))
            logger.warning("QStash was not told of the schedule %r: %s", row.name, error)
            return Pushed(", ".join(done), str(error))
        written = rows.filter(revision=row.revision).update(
            synced_as=fingerprint(wanted),
            synced_active=active,
            is_active=active,
            synced_at=clock.now(),
            sync_error="",
        )
        if written:
            return Pushed(", ".join(done))
        # It was changed meanwhile, and whoever changed it may have been faster at QStash.
        found = "ask"
    return Pushed(", ".join(done), "the row is changed again and again")


def _bring_together(
    row: TaskSchedule, known: remote.Remote | None, wanted: Any, done: list[str]
) -> bool:
    """Make QStash's schedule what the row says; whether it fires now. Raises PublishError."""
    if known is not None and not known.is_ours:
        raise ForeignError(
            f"QStash has a schedule {row.schedule_id} that fires at {known.destination}, which is "
            "not this site: this database may be a copy of that site's, or the site has moved. See "
            "task_schedules --new-ids and --move-from."
        )
    active = row.is_active
    if known is not None and known.paused and active and row.synced_active is not False:
        # Somebody has paused it at QStash since; that is not ours to undo.
        active = False
        done.append("found paused at QStash")
    if known is None or known.differences(wanted):
        remote.put(wanted)
        done.append("created" if known is None else "changed")
        paused = False if known is None else known.paused
        if not active:
            # What a replaced schedule keeps of its pause is not documented.
            remote.pause(row.schedule_id)
            if not paused:
                done.append("paused")
            return False
    else:
        paused = known.paused
    if active and paused:
        remote.resume(row.schedule_id)
        done.append("resumed")
    elif not active and not paused:
        remote.pause(row.schedule_id)
        done.append("paused")
    return active


def _gone(schedule_id: str, done: list[str]) -> Pushed:
    """The row was deleted while QStash was told of it; whoever did that may have been faster."""
    if done:
        try:
            remote.delete(schedule_id)
        except _WRONG as error:
            return Pushed(", ".join(done), str(error))
    return Pushed()


# --- deletion ----------------------------------------------------------------------------------


@receiver(post_delete, sender=TaskSchedule, dispatch_uid="django_qstash.schedules.remember")
def remember_deleted(instance: TaskSchedule, using: str, **_: Any) -> None:
    """Keep what is to be deleted at QStash, in the transaction that deletes the row."""
    if instance.synced_at is None and not instance.sync_error and not _speaks_unasked():
        return  # QStash has never heard of it
    DeletedSchedule.objects.using(using).update_or_create(
        schedule_id=instance.schedule_id,
        defaults={
            "name": instance.name,
            "deleted_at": clock.now(),
            "done_at": None,
            "error": "",
        },
    )
    if _speaks_unasked():
        transaction.on_commit(
            AfterCommit(partial(remove, instance.schedule_id, using)), using=using
        )


def remove(schedule_id: str, using: str) -> Pushed:
    """Have QStash forget a deleted schedule. Raises nothing: its row says what went wrong."""
    rows = DeletedSchedule.objects.using(using).filter(schedule_id=schedule_id)
    try:
        known = remote.get(schedule_id)
        if known is not None and known.is_ours:
            remote.delete(schedule_id)
    except _WRONG as error:
        rows.update(error=str(error))
        logger.warning("QStash was not told to delete a schedule: %s", error)
        return Pushed(error=str(error))
    rows.update(done_at=clock.now(), error="")
    return Pushed("deleted")


def forget_deleted(using: str) -> None:
    """Drop the memory of schedules whose last messages cannot be on their way any more."""
    before = clock.now() - timedelta(seconds=settings.DJANGO_QSTASH_DELIVERY_TTL)
    DeletedSchedule.objects.using(using).filter(done_at__lt=before).delete()


def _speaks_unasked() -> bool:
    """False where saving a row must not reach a network: in tests, and where tasks are eager."""
    if settings.DJANGO_QSTASH_ALWAYS_EAGER:
        return False
    if not under_test():
        return True
    try:
        if isinstance(get_transport(), KeptSchedules):
            return True
    except ImproperlyConfigured:
        return False
    from urllib.parse import urlsplit

    return is_loopback(urlsplit(settings.QSTASH_URL).hostname or "")
