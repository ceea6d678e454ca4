"""What waits in the outbox, in the admin: to look at, and to send now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.utils.translation import gettext_lazy as _

from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.outbox.flush import default_alias, flush_all
from django_qstash.outbox.models import OutgoingMessage
from django_qstash.readonly import ReadOnlyAdmin

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(OutgoingMessage)
class OutgoingMessageAdmin(ReadOnlyAdmin):
    """Read-only, but for deleting: a row is a message that is owed, and deleting it loses it."""

    deletable = True

    list_display = ("task_name", "task_id", "date_created", "attempts", "error")
    search_fields = ("task_id", "task_name")
    fields = ("task_name", "task_id", "letter", "date_created", "attempts", "error")
    readonly_fields = fields
    actions = ("send_now",)

    @admin.action(description=_("Send everything in the outbox now"), permissions=["view"])
    def send_now(self, request: HttpRequest, queryset: QuerySet[OutgoingMessage]) -> None:  # noqa: ARG002
        try:
            sent = flush_all(default_alias())
        except (PublishError, ImproperlyConfigured) as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, _("%d messages were sent.") % sent)
