"""The rows: a task's latest run, and the runs that it pushed out."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_qstash import states
from django_qstash.sql.fields import IdField, ValueField
from django_qstash.sql.indexes import PartialIndex


class Phase:
    """Where a run stands in the delivery protocol, whatever its ``status`` tells people."""

    OPEN = 0
    RETRY = 1
    DONE = 2


class VisibleManager(models.Manager["TaskResult"]):
    """Results that were neither forgotten nor cleared."""

    def get_queryset(self) -> models.QuerySet[TaskResult]:
        visible: models.QuerySet[TaskResult] = super().get_queryset().filter(cleared=False)
        return visible


class TaskResult(models.Model):
    """A task by its id: its latest run, who is at work on it, and what it came to.

    The columns below ``follow`` are what people look at; those above are the delivery protocol's.
    Every index is paid for twice in each delivery, so there are three: the id, and two dates; and
    one that only the runs of schedules pay for.
    ``objects`` are the results that people see; ``rows`` are all of them, those too that only the
    protocol still needs so that a late duplicate does not run.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = IdField(_("task id"), max_length=255, unique=True)
    #: Which application of the task id this is.
    run = IdField(max_length=64)
    retries = models.PositiveIntegerField(_("retries"), default=0)
    #: Celery's states, and whatever a task calls its own.
    status = models.CharField(_("status"), max_length=50, default=states.PENDING)
    phase = models.PositiveSmallIntegerField(default=Phase.OPEN)
    lease_token = IdField(max_length=32, null=True)
    #: Milliseconds since the epoch, by the database's clock.
    lease_until = models.BigIntegerField(null=True)
    #: Deliveries that began this letter.
    attempts = models.PositiveIntegerField(_("deliveries"), default=0)
    #: The letters that the outcome owes.
    follow = ValueField(null=True)

    #: Forgotten by its user, or stale: shown to nobody.
    cleared = models.BooleanField(default=False)
    #: Not to be run any more if it has not begun.
    revoked = models.BooleanField(default=False)

    task_name = models.CharField(_("task"), max_length=255, default="")
    args = ValueField(_("arguments"), null=True)
    kwargs = ValueField(_("keyword arguments"), null=True)
    result = ValueField(_("result"), null=True)
    traceback = models.TextField(_("traceback"), null=True)  # noqa: DJ001 - none is not an empty one
    date_created = models.DateTimeField(_("created"), db_index=True)
    date_started = models.DateTimeField(_("started"), null=True)
    date_done = models.DateTimeField(_("done"), null=True, db_index=True)
    root_id = IdField(max_length=255, default="", blank=True)
    parent_id = IdField(max_length=255, default="", blank=True)
    group_id = IdField(max_length=255, default="", blank=True)
    queue = models.CharField(_("queue"), max_length=255, default="", blank=True)
    worker = models.CharField(_("host"), max_length=255, default="", blank=True)
    message_id = models.CharField(_("QStash message"), max_length=255, default="", blank=True)
    #: The schedule's name when this ran. Its id is what stays, whatever the schedule is called.
    schedule_name = models.CharField(_("schedule"), max_length=255, default="", blank=True)
    schedule_id = IdField(max_length=190, null=True, blank=True)
    meta = ValueField(null=True)

    objects = VisibleManager()
    rows = models.Manager()

    class Meta:
        app_label = "django_qstash_results"
        db_table = "django_qstash_taskresult"
        ordering = ["-date_created"]
        verbose_name = _("task result")
        verbose_name_plural = _("task results")
        indexes = [
            PartialIndex(
                fields=["schedule_id", "date_created"], name="django_qstash_result_by_plan"
            )
        ]

    def __str__(self) -> str:
        return f"{self.task_name}[{self.task_id}] {self.status}"

    @property
    def runtime(self) -> float | None:
        """Seconds from the beginning of the last delivery to its end."""
        if self.date_started is None or self.date_done is None:
            return None
        return (self.date_done - self.date_started).total_seconds()


class StoredFields(models.Model):
    """What was too large to travel in a letter; the letter holds the key."""

    id = models.BigAutoField(primary_key=True)
    key = IdField(max_length=64, unique=True)
    fields = ValueField()
    date_created = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "django_qstash_results"
        db_table = "django_qstash_storedfields"
        verbose_name = _("stored fields")
        verbose_name_plural = _("stored fields")

    def __str__(self) -> str:
        return str(self.key)


class GroupResult(models.Model):
    """A group's results, saved by its id: ``GroupResult.save()``."""

    id = models.BigAutoField(primary_key=True)
    group_id = IdField(_("group id"), max_length=255, unique=True)
    #: What ``GroupResult.as_tuple`` says.
    data = models.TextField()
    date_created = models.DateTimeField(_("created"), db_index=True)

    class Meta:
        app_label = "django_qstash_results"
        db_table = "django_qstash_groupresult"
        verbose_name = _("group result")
        verbose_name_plural = _("group results")

    def __str__(self) -> str:
        return str(self.group_id)


class Chord(models.Model):
    """One application of a chord: how many members it has, and how many have come."""

    OPEN, FIRED, FAILED = 0, 1, 2

    id = models.BigAutoField(primary_key=True)
    key = IdField(max_length=64, unique=True)
    #: Null while a generator is still making members.
    size = models.PositiveIntegerField(null=True)
    done = models.PositiveIntegerField(default=0)
    state = models.PositiveSmallIntegerField(default=OPEN)
    date_created = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "django_qstash_results"
        db_table = "django_qstash_chord"
        verbose_name = _("chord")
        verbose_name_plural = _("chords")

    def __str__(self) -> str:
        return f"{self.key} {self.done}/{self.size}"


class GroupMember(models.Model):
    """What one member of a chord came to. It is counted when its row is written, hence once."""

    id = models.BigAutoField(primary_key=True)
    chord_key = IdField(max_length=64)
    #: Its place, such as "3", or "3.1" in a group at the end of the third member.
    index = IdField(max_length=190)
    #: Null while the chord waits for a member that was added to it.
    ok = models.BooleanField(null=True)
    value = ValueField(null=True)
    date_created = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "django_qstash_results"
        db_table = "django_qstash_groupmember"
        verbose_name = _("group member")
        verbose_name_plural = _("group members")
        constraints = [
            models.UniqueConstraint(fields=["chord_key", "index"], name="django_qstash_member_once")
        ]

    def __str__(self) -> str:
        return f"{self.chord_key}[{self.index}]"


class PastRun(models.Model):
    """An earlier run of a task id that was applied again: enough to answer its late duplicates."""

    id = models.BigAutoField(primary_key=True)
    run = IdField(max_length=64, unique=True)
    task_id = IdField(max_length=255)
    retries = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=50)
    phase = models.PositiveSmallIntegerField(default=Phase.DONE)
    attempts = models.PositiveIntegerField(default=0)
    follow = ValueField(null=True)
    message_id = models.CharField(max_length=255, default="", blank=True)
    date_created = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "django_qstash_results"
        db_table = "django_qstash_pastrun"
        verbose_name = _("past run")
        verbose_name_plural = _("past runs")

    def __str__(self) -> str:
        return f"{self.task_id} {self.run} {self.status}"
