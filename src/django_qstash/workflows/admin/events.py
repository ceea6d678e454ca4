"""Signals and events in the admin: what was sent, and which step received it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy

from django_qstash.readonly import ReadOnlyAdmin
from django_qstash.workflows.admin import shown
from django_qstash.workflows.models import WorkflowEvent

APP = "django_qstash_workflows"


@admin.register(WorkflowEvent)
class WorkflowEventAdmin(ReadOnlyAdmin):
    """Read-only: a signal is sent by a button on its run's page."""

    class Media:
        css = {"all": (f"{APP}/admin.css",)}

    list_display = ("name", "shown_run", "consumed_by", "created_at")
    list_select_related = ("run", "consumed_by")
    list_filter = (("consumed_by", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("name", "run__run_id")
    show_full_result_count = False
    date_hierarchy = "created_at"
    fields = ("name", "shown_run", "consumed_by", "shown_data", "created_at")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("run"))
    def shown_run(self, event: WorkflowEvent) -> str:
        return shown.link_to_run(event.run)

    @admin.display(description=gettext_lazy("data"))
    def shown_data(self, event: WorkflowEvent) -> str:
        return shown.value(event.data)
