"""The rows: what is to run when, and the schedules that are still to be deleted at QStash."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from datetime import timezone as zones
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models, router
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from django_qstash import clock
from django_qstash.exceptions import (
    CronError,
)
from django_qstash.schedules import check
from django_qstash.schedules.timetable import Timetable
from django_qstash.schedules.words import in_words
from django_qstash.sql.fields import IdField, PlainJSONField
from django_qstash.tasks.triggers import ALLOW, QUEUE, SKIP
from django_qstash.wire import options as wire
from django_qstash.wire.cron import UTC

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task

#: What :meth:`TaskSchedule.save` looks at; a save of other columns is nobody's business.
_CHECKED = frozenset(
    {
        *check.DELIVERY,
        *("name", "task_name", "args", "kwargs", "cron", "timezone", "only_on", "overlap"),
        *("is_active", "queue", "headers", "delay", "options"),
    }
)


def new_schedule_id() -> str:
    """An id that no other site chooses, in the characters that QStash allows."""
    return f"djq_{secrets.token_hex(12)}"


#: What a run does that is due while the one before it is still at work.
OVERLAPS = (
    (ALLOW, _("Run beside it")),
    (SKIP, _("Skip this run")),
    (QUEUE, _("Wait until it has finished")),
)


class TaskSchedule(models.Model):
    """A task that runs by the clock.

    Saving it creates or changes its schedule at QStash, and deleting it removes that, after the
    transaction has been committed. What went wrong there stands in ``sync_error``, and
    ``manage.py task_schedules --sync`` tries again. Bulk operations and ``loaddata`` write rows
    only, and leave the rest to that command.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(_("name"), max_length=255, unique=True)
    task_name = models.CharField(_("task"), max_length=255)
    args = PlainJSONField(_("arguments"), default=list, blank=True)
    kwargs = PlainJSONField(_("keyword arguments"), default=dict, blank=True)
    cron = models.CharField(_("cron"), max_length=255)
    #: Where the cron expression names none itself; blank: UTC.
    timezone = models.CharField(_("time zone"), max_length=64, blank=True, default="")
    is_active = models.BooleanField(_("active"), default=True)
    overlap = models.CharField(_("overlap"), max_length=8, choices=OVERLAPS, default=ALLOW)

    queue = models.CharField(_("queue"), max_length=255, blank=True, default="")
    label = models.CharField(_("label"), max_length=255, blank=True, default="")
    retries = models.PositiveSmallIntegerField(_("retries"), null=True, blank=True)
    timeout = models.CharField(_("timeout"), max_length=32, blank=True, default="")
    retry_delay = models.CharField(_("retry delay"), max_length=255, blank=True, default="")
    delay = models.CharField(_("delay"), max_length=32, blank=True, default="")
    headers = PlainJSONField(_("headers"), default=dict, blank=True)
    callback = models.CharField(_("callback"), max_length=1000, blank=True, default="")
    callback_headers = PlainJSONField(_("callback headers"), default=dict, blank=True)
    failure_callback = models.CharField(
        _("failure callback"), max_length=1000, blank=True, default=""
    )
    failure_callback_headers = PlainJSONField(
        _("failure callback headers"), default=dict, blank=True
    )
    flow_control = PlainJSONField(_("flow control"), default=dict, blank=True)
    redact = models.CharField(_("redact"), max_length=255, blank=True, default="")
    #: Days that have to fit as well as the cron expression: Celery's crontab restricts both.
    only_on = models.CharField(max_length=255, blank=True, default="", editable=False)
    #: Further options of the call, from code.
    options = PlainJSONField(default=dict, blank=True, editable=False)
    #: Which place in the code owns this row; ``None``: none, it was made here.
    code_key = IdField(max_length=190, unique=True, null=True, editable=False)

    schedule_id = IdField(
        _("QStash schedule"),
        max_length=190,
        unique=True,
        default=new_schedule_id,
        editable=False,
    )
    #: Changes with every save, so that whoever told QStash of a state knows if it is still this.
    revision = models.CharField(max_length=16, default="", editable=False)
    #: A digest of what QStash was told last, and whether that was to fire.
    synced_as = models.CharField(max_length=64, default="", blank=True, editable=False)
    synced_active = models.BooleanField(null=True, editable=False)
    synced_at = models.DateTimeField(_("sent to QStash"), null=True, editable=False)
    sync_error = models.TextField(_("error"), default="", blank=True, editable=False)

    last_fire_at = models.DateTimeField(_("last run"), null=True, editable=False)
    last_task_id = IdField(max_length=64, default="", blank=True, editable=False)
    skipped_at = models.DateTimeField(_("last skipped"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=clock.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=clock.now, editable=False)

    class Meta:
        app_label = "django_qstash_schedules"
        db_table = "django_qstash_taskschedule"
        ordering = ["name"]
        verbose_name = _("scheduled task")
        verbose_name_plural = _("scheduled tasks")

    def __str__(self) -> str:
        return self.name

    # --- what it says ---------------------------------------------------------------------------

    @property
    def task(self) -> str:
        """The task's name; a task or a dotted path may be given for it."""
        return self.task_name

    @task.setter
    def task(self, task: str | Task[..., Any]) -> None:
        self.task_name = task if isinstance(task, str) else task.name

    @property
    def is_from_code(self) -> bool:
        """True if code says what it is; it is then changed there, and only paused here."""
        return self.code_key is not None

    @cached_property
    def overlap_in_code(self) -> str | None:
        """What code says of its overlap; ``None``: nothing, so it is chosen in the admin."""
        from django_qstash.schedules import code

        return code.overlap_of(self)

    @cached_property
    def timetable(self) -> Timetable:
        """When it runs. Raises :class:`CronError`."""
        return Timetable.parse(self.cron, self.timezone, self.only_on)

    @property
    def zone(self) -> str:
        """The name of the zone that its times are in; ``UTC`` where it has none that is one."""
        try:
            return self.timetable.cron.zone
        except CronError:
            return UTC

    @property
    def words(self) -> str:
        """The timetable in words, or what is wrong with it."""
        try:
            return in_words(self.timetable)
        except CronError as error:
            return str(error)

    def next_runs(self, count: int = 5, after: float | None = None) -> list[float]:
        """The next instants at which it is to run, in seconds since the epoch."""
        from itertools import islice

        try:
            fires = self.timetable.fires(clock.time() if after is None else after)
        except CronError:
            return []
        return list(islice(fires, count))

    @property
    def next_fire_at(self) -> datetime | None:
        """When QStash fires it next, in UTC; ``None`` while it is paused, or if it never does."""
        runs = self.next_runs(1) if self.is_active else []
        return datetime.fromtimestamp(runs[0], tz=zones.utc) if runs else None

    @property
    def last_outcome(self) -> str:
        """The state of its last run's result, such as ``SUCCESS``; empty if there is none."""
        from django_qstash.schedules.runs import last_results

        found = last_results([self]).get(self.last_task_id)
        return "" if found is None else str(found.status)

    def call_options(self) -> dict[str, Any]:
        """The options of each run's call, as ``apply_async`` takes them, cleaned.

        Raises :class:`OptionError`.
        """
        given: dict[str, Any] = {
            name: value
            for name in check.DELIVERY
            if (value := getattr(self, name)) not in ("", None, {}, [])
        }
        found = wire.clean(given)
        if self.queue:
            found["queue"] = self.queue
        if self.headers:
            found["headers"] = dict(self.headers)
        return {**found, **self.options}

    # --- checked and written --------------------------------------------------------------------

    def problems(self, names: Iterable[str] | None = None) -> Mapping[str, Exception]:
        """What is wrong with which column, as the errors that :meth:`save` raises."""
        return check.problems(self, _CHECKED if names is None else _CHECKED.intersection(names))

    def clean(self) -> None:
        """Raises ``ValidationError``, each problem with its field."""
        if found := self.problems():
            raise ValidationError({name: str(error) for name, error in found.items()})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the row; QStash is told after the commit.

        Raises :class:`CronError`, :class:`NotRegistered`, :class:`OptionError`,
        :class:`EncodeError`, or :class:`ResultsNotInstalled` for an overlap that needs results;
        nothing is written then.
        """
        from django_qstash.schedules import sync

        if self.write(*args, **kwargs):
            using = self._state.db or router.db_for_write(TaskSchedule)
            sync.push_on_commit(self.schedule_id, using)

    save.alters_data = True  # type: ignore[attr-defined]

    def write(self, *args: Any, **kwargs: Any) -> bool:
        """:meth:`save` without telling QStash. True if it has something to be told."""
        fields = kwargs.get("update_fields")
        self.__dict__.pop("timetable", None)
        found = self.problems(fields)
        for error in found.values():
            raise error
        self.updated_at = clock.now()
        self.revision = secrets.token_hex(8)
        concerns = fields is None or bool(_CHECKED.intersection(fields))
        if fields is None and not self._state.adding and not kwargs.get("force_insert"):
            # An instance is older than what deliveries and QStash have told the row since.
            kwargs["update_fields"] = _SAVED
        elif fields is not None and concerns:
            kwargs["update_fields"] = {*fields, "revision", "updated_at"}
        super().save(*args, **kwargs)
        return concerns


#: What :meth:`TaskSchedule.save` writes of a row that is there.
_SAVED = frozenset({*_CHECKED, "code_key", "schedule_id", "revision", "created_at", "updated_at"})


class DeletedSchedule(models.Model):
    """A schedule that was deleted here: QStash is to forget it, and what it still fires is dropped.

    Kept for a while after QStash has forgotten it, for messages that were on their way.
    """

    id = models.BigAutoField(primary_key=True)
    schedule_id = IdField(_("QStash schedule"), max_length=190, unique=True)
    name = models.CharField(_("name"), max_length=255)
    error = models.TextField(_("error"), default="", blank=True)
    deleted_at = models.DateTimeField(_("deleted"), db_index=True)
    #: When QStash forgot it.
    done_at = models.DateTimeField(_("deleted at QStash"), null=True)

    class Meta:
        app_label = "django_qstash_schedules"
        db_table = "django_qstash_deletedschedule"
        verbose_name = _("deleted schedule")
        verbose_name_plural = _("deleted schedules")

    def __str__(self) -> str:
        return self.name
