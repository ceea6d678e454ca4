"""The rows: runs, their steps, what they were told, and those that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_qstash.sql.fields import IdField, PlainJSONField, ValueField

if TYPE_CHECKING:
    from django_qstash.workflows.handles import RunHandle


class RunStatus:
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


#: In the order of a run's life, with what people read.
STATUSES = {
    RunStatus.PENDING: _("pending"),
    RunStatus.RUNNING: _("running"),
    RunStatus.WAITING: _("waiting"),
    RunStatus.COMPLETED: _("completed"),
    RunStatus.FAILED: _("failed"),
    RunStatus.CANCELED: _("canceled"),
}
#: A run in one of these has ended, and keeps that status.
FINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED})
OPEN = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING})


class Closing:
    """What a failed run still owes after its end."""

    NOTHING = 0
    ON_FAILURE = 1
    FAILURE_URL = 2


class WorkflowRun(models.Model):
    """One run of a workflow, and who is at work on it.

    It is its own outbox: ``owed`` is set while its letter may not have reached QStash.
    """

    id = models.BigAutoField(primary_key=True)
    run_id = IdField(_("run id"), max_length=255, unique=True)
    workflow_id = IdField(_("workflow"), max_length=255)
    version = models.CharField(_("version"), max_length=100, default="", blank=True)
    status = models.CharField(
        _("status"), max_length=10, choices=list(STATUSES.items()), default=RunStatus.PENDING
    )
    data = PlainJSONField(_("input"), null=True)
    result = PlainJSONField(_("result"), null=True)
    error_message = models.TextField(_("error"), default="", blank=True)
    error_traceback = models.TextField(_("traceback"), default="", blank=True)
    #: The exception as data, for who waits for the run.
    error = ValueField(null=True)
    failed_step = models.CharField(_("failed step"), max_length=255, default="", blank=True)
    #: Which attempt at the body this is.
    attempt = models.PositiveIntegerField(_("attempt"), default=1)

    generation = models.PositiveIntegerField(_("generation"), default=0)
    lease_token = IdField(max_length=32, null=True)
    #: Milliseconds since the epoch, by the database's clock.
    lease_until = models.BigIntegerField(null=True)
    #: Deliveries that began this generation and have not got further than the one before.
    attempts = models.PositiveIntegerField(_("deliveries"), default=0)
    #: Steps that were recorded when the last delivery began.
    progress = models.PositiveIntegerField(default=0)
    #: Signals, and answers of tasks and calls, that have come.
    inbox = models.PositiveIntegerField(default=0)
    #: Open branches that it waits for; while it runs, branches whose letters may not be sent yet.
    branches = models.PositiveIntegerField(default=0)
    #: The one thing it waits for, such as "signal:approval"; "" for its time only.
    waits = IdField(_("waits for"), max_length=300, default="", blank=True, db_index=True)
    wake_at = models.DateTimeField(_("wakes at"), null=True)
    #: Since when (milliseconds) a letter may not have been sent; null: it has.
    owed = models.BigIntegerField(null=True, db_index=True)
    #: Written by who begins to wait for this run, so that its end does not miss them.
    watched = models.BooleanField(default=False)
    closing = models.PositiveSmallIntegerField(default=Closing.NOTHING)
    #: Letters of tasks that its end owes.
    follow = ValueField(null=True)

    idempotency_key = IdField(_("idempotency key"), max_length=200, null=True, blank=True)
    input_hash = models.CharField(max_length=32, default="", blank=True)
    parent = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="children"
    )
    #: The task's letter that it came by, from a canvas or a schedule.
    origin = ValueField(null=True)
    #: Delivery options of this run alone.
    options = ValueField(null=True)
    created_at = models.DateTimeField(_("created"), db_index=True)
    #: The same by the database's clock, in milliseconds: events before it do not count.
    born = models.BigIntegerField()
    started_at = models.DateTimeField(_("started"), null=True)
    completed_at = models.DateTimeField(_("completed"), null=True, db_index=True)
    deadline = models.DateTimeField(_("deadline"), null=True)
    messages = models.PositiveIntegerField(_("messages"), default=0)
    bytes_sent = models.PositiveBigIntegerField(_("bytes sent"), default=0)
    #: Seconds in deliveries, and those of them in statements; the times of parallel steps are added
    #: at the end.
    compute_seconds = models.FloatField(_("compute time"), default=0)
    database_seconds = models.FloatField(_("database time"), default=0)

    class Meta:
        app_label = "django_qstash_workflows"
        db_table = "django_qstash_workflowrun"
        ordering = ["-created_at"]
        verbose_name = _("workflow run")
        verbose_name_plural = _("workflow runs")
        indexes = [
            models.Index(fields=["workflow_id", "status"], name="django_qstash_run_by_status"),
            models.Index(fields=["status", "wake_at"], name="django_qstash_run_by_wake"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["workflow_id", "idempotency_key"], name="django_qstash_run_once"
            )
        ]
        permissions = [
            ("start_workflow", _("Can start a workflow")),
            ("signal_workflow", _("Can send signals to a run")),
            ("cancel_workflow", _("Can cancel a run")),
            ("replay_workflow", _("Can replay or resume a run")),
        ]

    def __str__(self) -> str:
        return f"{self.workflow_id}[{self.run_id}] {self.status}"

    def was_canceled(self) -> bool:
        """True if somebody has canceled it since it was read."""
        rows = WorkflowRun.objects.using(self._state.db)
        return bool(rows.filter(pk=self.pk, status=RunStatus.CANCELED).exists())

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def wakes_by_letter(self) -> bool:
        """True if a message comes at ``wake_at``; the answer of a call is a message by itself."""
        if self.wake_at is None:
            return False
        return self.deadline is not None or not self.waits.startswith("call:")

    @property
    def handle(self) -> RunHandle:
        from django_qstash.workflows.handles import RunHandle

        return RunHandle(self.run_id)


class StepExecution(models.Model):
    """One step of a run: written when it has ended, or when the run pauses for it."""

    id = models.BigAutoField(primary_key=True)
    workflow_run = models.ForeignKey(
        WorkflowRun,
        models.CASCADE,
        related_name="step_executions",
        # The unique index begins with it.
        db_index=False,
        verbose_name=_("run"),
    )
    step_id = IdField(_("step"), max_length=200)
    occurrence = models.PositiveIntegerField(_("occurrence"), default=0)
    kind = models.CharField(_("kind"), max_length=12)
    status = models.CharField(_("status"), max_length=10)
    result = ValueField(_("result"), null=True)
    error_message = models.TextField(_("error"), default="", blank=True)
    error = ValueField(null=True)
    #: Attempts that have ended.
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    input_hash = models.CharField(max_length=32, default="", blank=True)
    #: What it is about: a signal's name, an event's key, a workflow's or task's name.
    target = IdField(_("target"), max_length=255, default="", blank=True)
    wake_at = models.DateTimeField(_("wakes at"), null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    executed_at = models.DateTimeField(_("executed"), null=True)
    #: The run id of the child that it is about.
    child_id = IdField(_("child"), max_length=255, default="", blank=True)
    #: Letters that went out with it.
    follow = ValueField(null=True)

    # Branches run beside the body, each claimed here.
    fan = models.PositiveIntegerField(default=0)
    #: At most so many of its fan at once.
    limit = models.PositiveIntegerField(null=True)
    #: The run waits for it.
    awaited = models.BooleanField(default=False)
    lease_token = IdField(max_length=32, null=True)
    lease_until = models.BigIntegerField(null=True)
    #: Deliveries that began this attempt.
    deliveries = models.PositiveIntegerField(default=0)
    #: As those of the run.
    compute_seconds = models.FloatField(null=True)
    database_seconds = models.FloatField(null=True)

    class Meta:
        app_label = "django_qstash_workflows"
        db_table = "django_qstash_stepexecution"
        ordering = ["id"]
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        constraints = [
            models.UniqueConstraint(
                fields=["workflow_run", "step_id", "occurrence"], name="django_qstash_step_once"
            )
        ]

    def __str__(self) -> str:
        name = f"{self.step_id}#{self.occurrence}" if self.occurrence else self.step_id
        return f"{name} {self.status}"

    @property
    def duration(self) -> float | None:
        """Seconds from the beginning of its last attempt, or of its wait, to its end."""
        if self.started_at is None or self.executed_at is None:
            return None
        return (self.executed_at - self.started_at).total_seconds()


class WorkflowEvent(models.Model):
    """What came from outside: a signal to one run, or an event that all may wait for."""

    id = models.BigAutoField(primary_key=True)
    #: Null for an event, which is shared.
    run = models.ForeignKey(
        WorkflowRun, models.CASCADE, null=True, blank=True, related_name="events"
    )
    #: "signal:approval", "event:order-paid:7", "task:…", "call:…"
    name = IdField(_("name"), max_length=300)
    data = ValueField(_("data"), null=True)
    created_at = models.DateTimeField(_("sent"), db_index=True)
    #: Milliseconds since the epoch, by the database's clock.
    at = models.BigIntegerField()
    consumed_by = models.ForeignKey(
        StepExecution, models.SET_NULL, null=True, blank=True, related_name="events"
    )
    #: The shared event that this run has received.
    source = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        app_label = "django_qstash_workflows"
        db_table = "django_qstash_workflowevent"
        ordering = ["id"]
        verbose_name = _("workflow event")
        verbose_name_plural = _("workflow events")
        indexes = [models.Index(fields=["name", "at"], name="django_qstash_event_by_name")]

    def __str__(self) -> str:
        return str(self.name)


class Topic(models.Model):
    """An event's key. Both sides write it, so that neither misses the other."""

    id = models.BigAutoField(primary_key=True)
    key = IdField(max_length=200, unique=True)
    count = models.PositiveBigIntegerField(default=0)
    touched_at = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "django_qstash_workflows"
        db_table = "django_qstash_topic"
        verbose_name = _("topic")
        verbose_name_plural = _("topics")

    def __str__(self) -> str:
        return str(self.key)


class Watcher(models.Model):
    """``waiter`` waits for ``run`` to end."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(WorkflowRun, models.CASCADE, related_name="watchers", db_index=False)
    waiter = models.ForeignKey(WorkflowRun, models.CASCADE, related_name="watching")

    class Meta:
        app_label = "django_qstash_workflows"
        db_table = "django_qstash_watcher"
        verbose_name = _("watcher")
        verbose_name_plural = _("watchers")
        constraints = [
            models.UniqueConstraint(fields=["run", "waiter"], name="django_qstash_watcher_once")
        ]

    def __str__(self) -> str:
        return f"{self.waiter_id} waits for {self.run_id}"


class DeadLetterEntry(models.Model):
    """A run that failed for good, until somebody replays or resumes it."""

    id = models.BigAutoField(primary_key=True)
    workflow_id = IdField(_("workflow"), max_length=255, db_index=True)
    run_id = IdField(_("run"), max_length=255, db_index=True)
    step_id = models.CharField(_("step"), max_length=255, default="", blank=True)
    payload = PlainJSONField(_("input"), null=True)
    error_message = models.TextField(_("error"))
    error_traceback = models.TextField(_("traceback"), default="", blank=True)
    attempt_count = models.PositiveIntegerField(_("attempts"), default=0)
    created_at = models.DateTimeField(_("failed"), db_index=True)
    is_replayed = models.BooleanField(_("replayed"), default=False)
    replayed_at = models.DateTimeField(_("replayed at"), null=True, blank=True)
    replayed_as = IdField(_("replayed as"), max_length=255, default="", blank=True)
    #: What ``on_failure`` itself failed with.
    hook_error = models.TextField(_("error of on_failure"), default="", blank=True)

    class Meta:
        app_label = "django_qstash_workflows"
        db_table = "django_qstash_deadletterentry"
        ordering = ["-created_at"]
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")

    def __str__(self) -> str:
        return f"{self.workflow_id}[{self.run_id}]"

    def replay(self) -> RunHandle:
        """Start a new run with the same input. Raises :class:`WorkflowError` the second time."""
        from django_qstash.workflows.dlq import replay

        return replay(self)

    def resume(self) -> RunHandle:
        """Start a new run that has what this one had done before the step that failed.

        Raises :class:`WorkflowError` the second time.
        """
        from django_qstash.workflows.dlq import resume

        return resume(self)
