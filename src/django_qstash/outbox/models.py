"""The row: one letter that QStash does not have yet."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_qstash.sql.fields import IdField, ValueField


class OutgoingMessage(models.Model):
    """A letter, written in its sender's transaction and deleted once QStash has taken it.

    Nobody else holds it: a row that is there is owed.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = IdField(_("task id"), max_length=255)
    task_name = models.CharField(_("task"), max_length=255)
    #: The letter's JSON, as it will be the message's body.
    letter = models.TextField()
    #: The delivery options of its first copy alone.
    once = ValueField(null=True)
    #: Who is about to send it: a transaction, or a sweep; "" while nobody is.
    token = IdField(max_length=32, default="", blank=True, db_index=True)
    #: When a sweep may take it, in milliseconds since the epoch by the database's clock.
    until = models.BigIntegerField(db_index=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    error = models.TextField(_("last error"), default="", blank=True)
    #: The task is shown as PENDING among the results already.
    shown = models.BooleanField(default=False)
    date_created = models.DateTimeField(_("created"))

    objects: ClassVar[models.Manager[OutgoingMessage]] = models.Manager()

    class Meta:
        app_label = "django_qstash_outbox"
        db_table = "django_qstash_outgoingmessage"
        ordering = ["id"]
        verbose_name = _("outgoing message")
        verbose_name_plural = _("outgoing messages")

    def __str__(self) -> str:
        return f"{self.task_name}[{self.task_id}]"
