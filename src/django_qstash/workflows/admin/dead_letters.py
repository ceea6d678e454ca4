"""Runs that failed for good, in the admin: to read, and to start again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import transaction
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_qstash.exceptions import PublishError, WorkflowError
from django_qstash.readonly import ReadOnlyAdmin
from django_qstash.workflows import rows
from django_qstash.workflows.admin import shown
from django_qstash.workflows.models import DeadLetterEntry, WorkflowRun

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

APP = "django_qstash_workflows"


class ReplayedFilter(admin.SimpleListFilter):
    """Those that wait for somebody are shown unless others are asked for."""

    title = gettext_lazy("replayed")
    parameter_name = "replayed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [("no", _("Not replayed")), ("yes", _("Replayed")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Any:
        for value, title in self.lookup_choices:
            yield {
                "selected": (self.value() or "no") == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetterEntry]) -> Any:  # noqa: ARG002
        wanted = self.value() or "no"
        return queryset if wanted == "all" else queryset.filter(is_replayed=wanted == "yes")


@admin.register(DeadLetterEntry)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Read-only, but for deleting one that nobody needs any more."""

    deletable = True

    class Media:
        css = {"all": (f"{APP}/admin.css",)}

    list_display = ("which", "step_id", "problem", "created_at", "is_replayed")
    list_filter = (ReplayedFilter, "created_at")
    search_fields = ("run_id", "workflow_id", "step_id", "error_message")
    date_hierarchy = "created_at"
    fieldsets = (
        (None, {"fields": ("shown_run", "workflow_id", "step_id", "attempt_count", "created_at")}),
        (
            gettext_lazy("What went wrong"),
            {"fields": ("shown_error", "shown_payload", "shown_hook_error")},
        ),
        (gettext_lazy("Since then"), {"fields": ("is_replayed", "replayed_at", "shown_replay")}),
    )
    actions = ("resume_entries", "replay_entries")

    @admin.display(description=gettext_lazy("run"), ordering="workflow_id")
    def which(self, entry: DeadLetterEntry) -> str:
        return format_html(
            '{} <span class="qstash-id">{}</span>',
            shown.breakable(entry.workflow_id),
            entry.run_id,
        )

    @admin.display(description=gettext_lazy("error"))
    def problem(self, entry: DeadLetterEntry) -> str:
        text = entry.error_message.partition("\n")[0]
        return text if len(text) <= 100 else text[:99] + "…"

    @admin.display(description=gettext_lazy("run"))
    def shown_run(self, entry: DeadLetterEntry) -> str:
        return self._run(entry.run_id)

    @admin.display(description=gettext_lazy("started again as"))
    def shown_replay(self, entry: DeadLetterEntry) -> str:
        return self._run(entry.replayed_as)

    @admin.display(description=gettext_lazy("input"))
    def shown_payload(self, entry: DeadLetterEntry) -> str:
        return shown.value(entry.payload)

    @admin.display(description=gettext_lazy("error"))
    def shown_error(self, entry: DeadLetterEntry) -> str:
        return shown.block(entry.error_traceback or entry.error_message)

    @admin.display(description=gettext_lazy("error of on_failure"))
    def shown_hook_error(self, entry: DeadLetterEntry) -> str:
        return shown.block(entry.hook_error)

    def _run(self, run_id: str) -> str:
        if not run_id:
            return "-"
        run = WorkflowRun.objects.filter(run_id=run_id).first()
        return shown.link_to_run(run) if run is not None else run_id

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(str(name) for _title, options in self.fieldsets for name in options["fields"])

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{APP}.replay_workflow")

    @admin.action(
        description=gettext_lazy("Resume from the step that failed"), permissions=["replay"]
    )
    def resume_entries(self, request: HttpRequest, queryset: QuerySet[DeadLetterEntry]) -> None:
        self._again(request, queryset, "resume", _("Resumed as %s."))

    @admin.action(description=gettext_lazy("Replay from the start"), permissions=["replay"])
    def replay_entries(self, request: HttpRequest, queryset: QuerySet[DeadLetterEntry]) -> None:
        self._again(request, queryset, "replay", _("Replayed as %s."))

    def _again(
        self, request: HttpRequest, entries: QuerySet[DeadLetterEntry], how: str, words: str
    ) -> None:
        for entry in entries:
            try:
                with transaction.atomic(using=rows.alias()):
                    happened = words % getattr(entry, how)()
                    self.log_change(request, entry, happened)
            except (WorkflowError, PublishError) as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"{entry.run_id}: {happened}", messages.SUCCESS)
