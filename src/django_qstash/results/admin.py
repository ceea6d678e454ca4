"""Results in the admin: to look at, search and filter; never to edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from django_qstash import serialization, states
from django_qstash.readonly import ReadOnlyAdmin
from django_qstash.results.models import TaskResult

if TYPE_CHECKING:
    from django.http import HttpRequest

#: The admin's own colours, which follow its light and dark themes.
_COLOURS = {
    states.FAILURE: "var(--error-fg)",
    states.REVOKED: "var(--error-fg)",
}


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin):
    """Read-only: a row is the protocol's memory, and an edit could run a task twice."""

    list_display = ("named", "shown_status", "outcome", "created", "took", "retries", "shown_id")
    list_filter = ("status", "date_created")
    search_fields = ("task_id", "task_name", "args", "kwargs")
    search_help_text = _("Task id, name or arguments")
    date_hierarchy = "date_created"
    # Counted once more without the filters, a large table would answer slowly.
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("task_id", "task_name", "status", "shown_args", "shown_kwargs")}),
        (_("Outcome"), {"fields": ("shown_result", "shown_traceback")}),
        (_("Times"), {"fields": ("date_created", "date_started", "date_done", "took")}),
        (
            _("Delivery"),
            {
                "classes": ("collapse",),
                "fields": (
                    "retries",
                    "attempts",
                    "message_id",
                    "queue",
                    "worker",
                    "root_id",
                    "parent_id",
                    "group_id",
                    "schedule_name",
                ),
            },
        ),
    )

    @admin.display(description=_("task"), ordering="task_name")
    def named(self, row: TaskResult) -> str:
        # A row that was revoked before it ran knows no name.
        return row.task_name or str(row.task_id)

    @admin.display(description=_("status"), ordering="status")
    def shown_status(self, row: TaskResult) -> str:
        colour = _COLOURS.get(row.status)
        if colour is None:
            return row.status
        return format_html('<span style="color:{}">{}</span>', colour, row.status)

    @admin.display(description=_("outcome"))
    def outcome(self, row: TaskResult) -> str:
        if row.result is None:
            return ""
        if row.status in states.EXCEPTION_STATES:
            return _short(_raised(row.result))
        return _short(serialization.dumps(row.result))

    @admin.display(description=_("created"), ordering="date_created")
    def created(self, row: TaskResult) -> str:
        return _unbroken(f"{timezone.localtime(row.date_created):%Y-%m-%d %H:%M:%S}")

    @admin.display(description=_("task id"), ordering="task_id")
    def shown_id(self, row: TaskResult) -> str:
        return _unbroken(str(row.task_id))

    @admin.display(description=_("took"))
    def took(self, row: TaskResult) -> str:
        return "-" if row.runtime is None else _unbroken(f"{row.runtime:.3f} s")

    @admin.display(description=_("arguments"))
    def shown_args(self, row: TaskResult) -> str:
        return _value(row.args)

    @admin.display(description=_("keyword arguments"))
    def shown_kwargs(self, row: TaskResult) -> str:
        return _value(row.kwargs)

    @admin.display(description=_("result"))
    def shown_result(self, row: TaskResult) -> str:
        return _value(row.result)

    @admin.display(description=_("traceback"))
    def shown_traceback(self, row: TaskResult) -> str:
        return _block(row.traceback) if row.traceback else "-"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(str(name) for _title, options in self.fieldsets for name in options["fields"])


def _unbroken(text: str) -> str:
    return format_html('<span style="white-space:nowrap">{}</span>', text)


def _raised(data: Any) -> str:
    """The exception that is kept as ``data``, in a line."""
    if not isinstance(data, dict) or "exc_type" not in data:
        return str(data)
    arguments = data.get("exc_message")
    words = arguments if isinstance(arguments, list) else [arguments]
    return f"{data['exc_type']}: {', '.join(map(str, words))}"


def _short(text: str) -> str:
    return Truncator(text).chars(80)


def _value(value: Any) -> str:
    return "-" if value is None else _block(serialization.dumps(value))


def _block(text: str) -> str:
    return format_html('<pre style="margin:0;white-space:pre-wrap">{}</pre>', text)
