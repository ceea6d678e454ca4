"""Schedules in the admin, for people who do not write code."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import connections, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timezone import get_current_timezone, get_current_timezone_name
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext

from django_qstash import clock
from django_qstash.exceptions import (
    CronError,
    DjangoQStashError,
    ImproperlyConfigured,
    NotRegistered,
)
from django_qstash.readonly import ReadOnlyAdmin
from django_qstash.schedules import catalogue, runs, sync
from django_qstash.schedules.forms import TaskScheduleForm
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule
from django_qstash.schedules.state import state_of
from django_qstash.schedules.timetable import Timetable
from django_qstash.schedules.words import in_words

#: What going wrong says itself, in a sentence for people.
_SAID = (DjangoQStashError, ImproperlyConfigured, NotRegistered, TypeError, ValueError)
_SHOWN = 5


class Schedules(ChangeList):
    """The list, with the last result of each row found in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        found = runs.last_results(self.result_list)
        for row in self.result_list:
            row.last_result = found.get(row.last_task_id)


@admin.register(TaskSchedule)
class TaskScheduleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Add a job, see when it runs next and how it went, pause it, run it now."""

    form = TaskScheduleForm
    list_display = ("name", "standing", "when", "next_run", "last_run", "shown_task")
    list_filter = ("is_active",)
    search_fields = ("name", "task_name", "cron")
    actions = ("run_now", "pause", "resume", "send")
    readonly_fields = ("state", "owner", "shown_runs", "history", "schedule_id", "synced_at")
    fieldsets = (
        (None, {"fields": ("owner", "name", "task_name", "args", "kwargs")}),
        (_lazy("When"), {"fields": ("cron", "timezone", "shown_runs", "overlap", "is_active")}),
        (_lazy("Runs"), {"fields": ("history",)}),
        (_lazy("QStash"), {"fields": ("state", "synced_at", "schedule_id")}),
        (
            _lazy("Delivery options"),
            {
                "classes": ("collapse",),
                "fields": (
                    *("retries", "timeout", "retry_delay", "delay", "queue", "label", "headers"),
                    *("callback", "callback_headers"),
                    *("failure_callback", "failure_callback_headers", "flow_control", "redact"),
                ),
            },
        ),
    )

    class Media:
        css = {"all": ("django_qstash_schedules/schedules.css",)}
        js = ("django_qstash_schedules/schedules.js",)

    # --- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        return Schedules

    @admin.display(description=_lazy("task"), ordering="task_name")
    def shown_task(self, row: TaskSchedule) -> str:
        # A long name may be broken after each of its dots.
        return format_html_join(mark_safe(".<wbr>"), "{}", ((p,) for p in row.task_name.split(".")))

    @admin.display(description=_lazy("when"), ordering="cron")
    def when(self, row: TaskSchedule) -> str:
        return format_html('<span title="{}">{}</span>', row.cron, row.words)

    @admin.display(description=_lazy("next run"))
    def next_run(self, row: TaskSchedule) -> str:
        found = row.next_fire_at
        return "-" if found is None else _moment(found.timestamp())

    @admin.display(description=_lazy("last run"), ordering="last_fire_at")
    def last_run(self, row: TaskSchedule) -> str:
        if row.last_fire_at is None:
            return "-"
        shown = _written(row.last_fire_at)
        result = getattr(row, "last_result", None)
        return shown if result is None else format_html("{} {}", shown, _badge(result.status))

    @admin.display(description=_lazy("state"))
    def standing(self, row: TaskSchedule) -> str:
        found = state_of(row)
        badge = format_html(
            '<span class="qs-state qs-{}" title="{}">{}</span>',
            found.kind,
            found.problem,
            found.label,
        )
        if not found.problem:
            return badge
        first = found.problem.partition(". ")[0].rstrip(".")
        return format_html('{}<span class="qs-problem qs-short">{}.</span>', badge, first)

    @admin.display(description=_lazy("state"))
    def state(self, row: TaskSchedule) -> str:
        found = state_of(row)
        badge = format_html('<span class="qs-state qs-{}">{}</span>', found.kind, found.label)
        if not found.problem:
            return badge
        return format_html('{}<span class="qs-problem">{}</span>', badge, found.problem)

    # --- one of them ----------------------------------------------------------------------------

    @admin.display(description=_lazy("made in"))
    def owner(self, row: TaskSchedule) -> str:
        key = (row.code_key or "").partition(":")[2]
        said = _(
            "The code (%(key)s). It is changed there; here it can be paused, resumed and run. "
            "Deleted here, it comes back with the next task_schedules --sync."
        ) % {"key": key}
        if "overlap" not in _changeable(row):
            return said
        return f"{said} {_('What happens when runs overlap is chosen here.')}"

    @admin.display(description=_lazy("next runs"))
    def shown_runs(self, row: TaskSchedule) -> str:
        if not row.cron:
            return "-"
        moments = row.next_runs(_SHOWN)
        listed = format_html_join("", "<li>{}</li>", ((_moment(moment),) for moment in moments))
        zone = get_current_timezone_name()
        return format_html(
            '<div class="qs-preview"><strong>{}</strong><ol>{}</ol>'
            '<span class="help">{}</span></div>',
            row.words,
            listed,
            _("Times of %(zone)s") % {"zone": zone} if moments else "",
        )

    @admin.display(description=_lazy("latest runs"))
    def history(self, row: TaskSchedule) -> str:
        found = runs.history(row)
        shown = [(self._linked(result), _badge(result.status), _took(result)) for result in found]
        if runs.is_at_work(row) and row.last_task_id not in {result.task_id for result in found}:
            # A workflow's result is written at its end.
            began = "-" if row.last_fire_at is None else _written(row.last_fire_at)
            shown.insert(0, (began, _("at work"), "-"))
        if not shown:
            return _("None yet.") if row.skipped_at is None else _("None yet; one was skipped.")
        lines = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", shown)
        skipped = ""
        if row.skipped_at is not None:
            moment = _written(row.skipped_at)
            skipped = _("Last skipped, since a run was still at work: %(moment)s") % {
                "moment": moment
            }
        return format_html(
            '<table class="qs-history"><thead><tr><th>{}</th><th>{}</th><th>{}</th></tr></thead>'
            '<tbody>{}</tbody></table><span class="help">{}</span>',
            _("Started"),
            _("Outcome"),
            _("Took"),
            lines,
            skipped,
        )

    def _linked(self, result: Any) -> str:
        shown = _written(result.date_started or result.date_created)
        try:
            url = reverse(
                "admin:django_qstash_results_taskresult_change",
                args=[result.pk],
                current_app=self.admin_site.name,
            )
        except NoReverseMatch:
            return shown
        return format_html('<a href="{}">{}</a>', url, shown)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        own = tuple(super().get_readonly_fields(request, obj))
        if obj is None or not obj.is_from_code:
            return own
        fields = (name for _title, options in self.fieldsets for name in options["fields"])
        return tuple(str(name) for name in fields if name not in _changeable(obj))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002
        hidden = set()
        if obj is None:
            hidden = {"state", "synced_at", "schedule_id", "history", "shown_runs"}
        if obj is None or not obj.is_from_code:
            hidden.add("owner")
        shown = []
        for title, options in self.fieldsets:
            fields = tuple(name for name in options["fields"] if name not in hidden)
            if fields:
                shown.append((title, {**options, "fields": fields}))
        return shown

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        extra = {**(extra_context or {}), "qs_tasks": catalogue.described()}
        saved: list[TaskSchedule] = []
        request.qs_saved = saved  # type: ignore[attr-defined]
        response = super().changeform_view(request, object_id, form_url, extra)
        # The transaction has been committed, and QStash told, if nothing went wrong.
        for row in saved:
            self._warn(request, row)
        return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        getattr(request, "qs_saved", []).append(obj)

    def _warn(self, request: HttpRequest, row: TaskSchedule) -> None:
        error = TaskSchedule.objects.filter(pk=row.pk).values_list("sync_error", flat=True).first()
        if error and not connections[router.db_for_write(TaskSchedule)].in_atomic_block:
            said = _("%(name)s is kept here, but QStash does not know it as it is: %(error)s")
            text = said % {"name": row.name, "error": error}
            self.message_user(request, text, messages.WARNING)

    # --- what can be done -------------------------------------------------------------------------

    @admin.action(description=_lazy("Run now"), permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: Any) -> None:
        sent = [row for row in queryset if self._run(request, row)]
        if sent:
            text = ngettext("%(n)d task was sent.", "%(n)d tasks were sent.", len(sent))
            self.message_user(request, text % {"n": len(sent)}, messages.SUCCESS)

    @admin.action(description=_lazy("Pause"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, active=False)

    @admin.action(description=_lazy("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        self._switch(request, queryset, active=True)

    @admin.action(description=_lazy("Send to QStash again"), permissions=["change"])
    def send(self, request: HttpRequest, queryset: Any) -> None:
        using = router.db_for_write(TaskSchedule)
        told = [(row, sync.push(row.schedule_id, using)) for row in queryset]
        wrong = [(row, pushed.error) for row, pushed in told if pushed.error]
        self._report(request, len(told) - len(wrong), wrong)

    def _switch(self, request: HttpRequest, queryset: Any, *, active: bool) -> None:
        done, wrong = 0, []
        for row in queryset:
            row.is_active = active
            try:
                row.save(update_fields=["is_active"])
            except _SAID as error:
                wrong.append((row, str(error)))
                continue
            # Told already, unless a transaction of the request is open.
            row.refresh_from_db(fields=["sync_error"])
            later = connections[router.db_for_write(TaskSchedule)].in_atomic_block
            if row.sync_error and not later:
                wrong.append((row, row.sync_error))
            else:
                done += 1
        self._report(request, done, wrong)

    def _report(self, request: HttpRequest, done: int, wrong: Any) -> None:
        if done:
            text = ngettext("%(n)d schedule is done.", "%(n)d schedules are done.", done)
            self.message_user(request, text % {"n": done}, messages.SUCCESS)
        for row, error in wrong:
            self.message_user(request, f"{row.name}: {error}", messages.ERROR)

    def _run(self, request: HttpRequest, row: TaskSchedule) -> bool:
        try:
            runs.run_now(row)
        except _SAID as error:
            self.message_user(request, f"{row.name}: {error}", messages.ERROR)
            return False
        return True

    # --- pages of its own -------------------------------------------------------------------------

    def get_urls(self) -> Any:
        wrap = self.admin_site.admin_view
        return [
            path(
                "preview/",
                wrap(self.preview_view),
                name="django_qstash_schedules_taskschedule_preview",
            ),
            path(
                "<path:object_id>/run/",
                wrap(self.run_view),
                name="django_qstash_schedules_taskschedule_run",
            ),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """A cron expression in words and with its next runs; or its mistake, and where it is."""
        if not (self.has_add_permission(request) or self.has_view_permission(request)):
            raise PermissionDenied
        cron, zone = request.GET.get("cron", ""), request.GET.get("timezone", "")
        try:
            timetable = Timetable.parse(cron, "" if "TZ=" in cron else zone)
        except CronError as error:
            at_fault = error.text == cron
            answer: dict[str, Any] = {
                "error": error.reason,
                "position": error.position if at_fault else None,
            }
        else:
            moments = []
            for moment in timetable.fires(clock.time()):
                moments.append(_described(moment, timetable.cron.zone))
                if len(moments) == _SHOWN:
                    break
            answer = {
                "words": in_words(timetable),
                "zone": timetable.cron.zone,
                "runs": moments,
            }
        return JsonResponse(answer)

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Run one now, and come back to it."""
        row = self.get_object(request, unquote(object_id))
        if row is None or not self.has_change_permission(request, row):
            raise PermissionDenied
        url = reverse(
            "admin:django_qstash_schedules_taskschedule_change",
            args=[row.pk],
            current_app=self.admin_site.name,
        )
        if request.method == "POST" and self._run(request, row):
            self.message_user(request, _("The task was sent; it runs now."), messages.SUCCESS)
        return HttpResponseRedirect(url)


@admin.register(DeletedSchedule)
class DeletedScheduleAdmin(ReadOnlyAdmin):
    """What was deleted here, and whether QStash knows: to look at."""

    list_display = ("name", "schedule_id", "deleted_at", "done_at", "error")
    search_fields = ("name", "schedule_id")


def _changeable(row: TaskSchedule) -> tuple[str, ...]:
    """What may be changed here of a schedule that code owns: what code says nothing of."""
    return ("is_active",) if row.overlap_in_code else ("is_active", "overlap")


def _moment(moment: float) -> str:
    local = datetime.fromtimestamp(moment, get_current_timezone())
    return date_format(local, "D, ") + date_format(local, "DATETIME_FORMAT")


def _written(moment: datetime) -> str:
    return date_format(moment.astimezone(get_current_timezone()), "DATETIME_FORMAT")


def _described(moment: float, zone: str) -> dict[str, str]:
    """An instant for the browser, and as the clock on the wall of ``zone`` shows it."""
    local = datetime.fromtimestamp(moment, ZoneInfo(zone))
    return {
        "at": datetime.fromtimestamp(moment, timezone.utc).isoformat(),
        "shown": local.strftime("%a %d %b %Y, %H:%M"),
    }


def _badge(status: str) -> str:
    kind = {"SUCCESS": "active", "FAILURE": "error", "REVOKED": "paused"}.get(status, "waiting")
    return format_html('<span class="qs-state qs-{}">{}</span>', kind, status)


def _took(result: Any) -> str:
    return "-" if result.runtime is None else f"{result.runtime:.1f} s"
