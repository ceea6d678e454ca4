"""Runs in the admin: a list, a page with a timeline, and buttons for what may be done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin import utils
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_qstash import clock
from django_qstash.exceptions import PublishError, UnknownWorkflowError, WorkflowError
from django_qstash.readonly import ReadOnlyAdmin
from django_qstash.tasks.registry import tasks
from django_qstash.workflows import persistence, price, rows
from django_qstash.workflows.admin import shown, timeline
from django_qstash.workflows.admin.deeds import DEEDS, Deed, act
from django_qstash.workflows.admin.forms import StartForm
from django_qstash.workflows.control import get_run, list_workflows
from django_qstash.workflows.definition import Workflow, find_workflow
from django_qstash.workflows.models import STATUSES, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

APP = "django_qstash_workflows"
TEMPLATES = f"admin/{APP}/workflowrun"
#: Steps on one page of a timeline.
STEPS = 200


class WorkflowFilter(admin.SimpleListFilter):
    """By workflow, as they are registered: a SELECT DISTINCT would read every run."""

    title = gettext_lazy("workflow")
    parameter_name = "workflow_id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        names = {name for name, task in tasks.items() if isinstance(task, Workflow)}
        if value := self.value():
            names.add(value)
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[WorkflowRun]) -> Any:  # noqa: ARG002
        return queryset.filter(workflow_id=self.value()) if self.value() else queryset


def _action(deed: Deed) -> Callable[..., Any]:
    @admin.action(description=deed.plural, permissions=[deed.permission])
    def action(model_admin: WorkflowRunAdmin, request: HttpRequest, queryset: Any) -> Any:
        return model_admin.bulk(request, deed, queryset)

    # By which Django knows it in a form.
    action.__name__ = deed.name
    return action


@admin.register(WorkflowRun)
class WorkflowRunAdmin(ReadOnlyAdmin):
    """Nothing is edited: a row is what the engine goes by. What may be done are the buttons."""

    class Media:
        css = {"all": (f"{APP}/admin.css",)}

    list_display = ("which", "shown_status", "about", "created_at", "took")
    list_filter = ("status", WorkflowFilter, "created_at")
    search_fields = ("run_id", "workflow_id", "idempotency_key", "error_message")
    show_full_result_count = False
    date_hierarchy = "created_at"
    actions = tuple(_action(deed) for deed in DEEDS.values())
    change_form_template = f"{TEMPLATES}/change_form.html"
    fieldsets = (
        (gettext_lazy("Input and outcome"), {"fields": ("shown_data", "shown_result", "failure")}),
        (
            gettext_lazy("Times"),
            {
                "fields": (
                    ("created_at", "started_at", "completed_at"),
                    ("wake_at", "deadline", "took"),
                )
            },
        ),
        (
            gettext_lazy("Used"),
            {"fields": (("messages", "shown_bytes", "shown_price"), ("compute", "database"))},
        ),
        (
            gettext_lazy("Details"),
            {
                "classes": ("collapse",),
                "fields": (
                    "run_id",
                    "workflow_id",
                    "version",
                    "idempotency_key",
                    "shown_parent",
                    "attempt",
                    "attempts",
                    "generation",
                    "inbox",
                ),
            },
        ),
    )

    # --- what is shown --------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("run"), ordering="workflow_id")
    def which(self, run: WorkflowRun) -> str:
        return format_html(
            '{} <span class="qstash-id">{}</span>', shown.breakable(run.workflow_id), run.run_id
        )

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def shown_status(self, run: WorkflowRun) -> str:
        return shown.status(run.status)

    @admin.display(description=gettext_lazy("about"))
    def about(self, run: WorkflowRun) -> str:
        """What it waits for, or what it failed with, in a line."""
        text = run.waits or run.error_message
        if not text and run.wake_at and not run.is_final:
            return _("its time")
        return text if len(text) <= 80 else text[:79] + "…"

    @admin.display(description=gettext_lazy("took"))
    def took(self, run: WorkflowRun) -> str:
        return shown.span(shown.between(run.started_at, run.completed_at))

    @admin.display(description=gettext_lazy("sent"))
    def shown_bytes(self, run: WorkflowRun) -> str:
        return filesizeformat(run.bytes_sent)

    @admin.display(description=gettext_lazy("estimated price"))
    def shown_price(self, run: WorkflowRun) -> str:
        return price.shown(price.of(run.messages))

    @admin.display(description=gettext_lazy("compute time"))
    def compute(self, run: WorkflowRun) -> str:
        return shown.span(run.compute_seconds)

    @admin.display(description=gettext_lazy("database time"))
    def database(self, run: WorkflowRun) -> str:
        return shown.span(run.database_seconds or None)

    @admin.display(description=gettext_lazy("input"))
    def shown_data(self, run: WorkflowRun) -> str:
        return shown.value(run.data)

    @admin.display(description=gettext_lazy("result"))
    def shown_result(self, run: WorkflowRun) -> str:
        return shown.value(run.result)

    @admin.display(description=gettext_lazy("error"))
    def failure(self, run: WorkflowRun) -> str:
        return shown.block(run.error_traceback or run.error_message)

    @admin.display(description=gettext_lazy("parent"))
    def shown_parent(self, run: WorkflowRun) -> str:
        return shown.link_to_run(run.parent)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(utils.flatten_fieldsets(self.fieldsets))

    # --- who may --------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{APP}.start_workflow")

    def has_signal_permission(self, request: HttpRequest) -> bool:
        return self._holds(request, "signal")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return self._holds(request, "replay")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._holds(request, "cancel")

    def may(self, request: HttpRequest, deed: Deed) -> bool:
        return self._holds(request, deed.permission)

    def _holds(self, request: HttpRequest, permission: str) -> bool:
        wanted = f"{APP}.{permission}_workflow"
        return self.has_view_permission(request) and request.user.has_perm(wanted)

    # --- pages ----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<int:pk>/<slug:name>/",
            self.admin_site.admin_view(self.deed_view),
            name=f"{APP}_workflowrun_deed",
        )
        by_id = path(
            "run/<path:run_id>",
            self.admin_site.admin_view(self.by_run_id),
            name=f"{APP}_workflowrun_by_id",
        )
        # "<pk>/change/" is no deed, so Django's own come first; the last of them takes all.
        *theirs, last = super().get_urls()
        return [by_id, *theirs, own, last]

    def by_run_id(self, request: HttpRequest, run_id: str) -> HttpResponse:  # noqa: ARG002
        """From a run's id, which links of a site may carry, to its page."""
        try:
            return HttpResponseRedirect(shown.address_of(get_run(run_id)))
        except WorkflowError as error:
            raise Http404(str(error)) from None

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if run is not None and self.has_view_permission(request, run):
            context |= self._page(request, run)
        return super().change_view(request, object_id, form_url, context)

    def _page(self, request: HttpRequest, run: WorkflowRun) -> dict[str, Any]:
        steps = run.step_executions.order_by("pk")
        page = Paginator(steps, STEPS).get_page(request.GET.get("steps"))
        found = list(page)
        ids = [step.child_id for step in found if step.child_id]
        started = self.get_queryset(request).filter(run_id__in=ids)
        children = {child.run_id: child for child in started}
        return {
            "title": run.workflow_id,
            "subtitle": None,
            "run": run,
            "status": shown.status(run.status),
            "timeline": timeline.draw(run, found, children, clock.now()),
            "steps": page,
            "deeds": self._deeds(request, run),
            "parent": run.parent,
        }

    def _deeds(self, request: HttpRequest, run: WorkflowRun) -> list[Deed]:
        fitting = [deed for deed in DEEDS.values() if run.status in deed.fits]
        return [deed for deed in fitting if self.may(request, deed)]

    def deed_view(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        """Ask, by GET, and do it, by POST, to one run."""
        deed, run = DEEDS.get(name), self.get_object(request, str(pk))
        if deed is None or run is None:
            raise Http404(f"There is no run {pk}, or nothing called {name} to do to it.")
        if not self.may(request, deed):
            raise PermissionDenied
        waits, _colon, awaited = run.waits.partition(":")
        form = deed.form(
            request.POST if request.method == "POST" else None,
            initial={"name": awaited if waits == "signal" else ""},
        )
        if request.method == "POST" and form.is_valid():
            self._act(request, deed, [run], form.cleaned_data)
            return HttpResponseRedirect(shown.address_of(run))
        return self._ask(request, deed, form, [run])

    def _ask(
        self, request: HttpRequest, deed: Deed, form: Any, runs: Sequence[WorkflowRun]
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": deed.label if len(runs) == 1 else deed.plural,
            "deed": deed,
            "form": form,
            "media": self.media + form.media,
            "runs": runs,
            "opts": self.opts,
            "is_bulk": "action" in request.POST,
            "checkbox": ACTION_CHECKBOX_NAME,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "back": shown.address_of(runs[0])
            if len(runs) == 1
            else reverse(f"{self.admin_site.name}:{APP}_workflowrun_changelist"),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"{TEMPLATES}/deed.html", context)

    def _act(
        self, request: HttpRequest, deed: Deed, runs: Sequence[WorkflowRun], said: Any
    ) -> None:
        """Do it to each run, and say what happened to each."""
        for run in runs:
            try:
                happened = act(deed, run, said, partial(self.log_change, request, run))
            except (WorkflowError, PublishError) as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"{run.run_id}: {happened}", messages.SUCCESS)

    # --- several at once ------------------------------------------------------------------------

    def bulk(self, request: HttpRequest, deed: Deed, queryset: QuerySet[WorkflowRun]) -> Any:
        """Ask once for all selected runs, then do it to each that it fits."""
        if not self.may(request, deed):
            raise PermissionDenied
        runs = list(queryset.filter(status__in=deed.fits))
        if not runs:
            words = ", ".join(str(STATUSES[status]) for status in STATUSES if status in deed.fits)
            said = _("None of the selected runs is %s.") % words
            self.message_user(request, said, messages.WARNING)
            return None
        form = deed.form(request.POST if "apply" in request.POST else None)
        if "apply" in request.POST and form.is_valid():
            self._act(request, deed, runs, form.cleaned_data)
            return None
        return self._ask(request, deed, form, runs)

    # --- starting -------------------------------------------------------------------------------

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Start a workflow: which one, then its parameters."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        name = request.GET.get("workflow", "")
        try:
            workflow = find_workflow(name) if name else None
        except UnknownWorkflowError as error:
            raise Http404(str(error)) from None
        form = None
        if workflow is not None:
            form = StartForm(workflow, request.POST if request.method == "POST" else None)
            if form.is_bound and form.is_valid():
                run = self._start(request, workflow, form)
                if run is not None:
                    return HttpResponseRedirect(shown.address_of(run))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Start a workflow"),
            "form": form,
            "media": self.media,
            # Its name alone: a template calls what can be called, which would run it.
            "workflow": name,
            "summary": ((workflow.__doc__ or "") if workflow else "").strip().partition("\n\n")[0],
            "choices": [
                (f"?{urlencode({'workflow': meta['name']})}", meta) for meta in list_workflows()
            ],
            "opts": self.opts,
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"{TEMPLATES}/start.html", context)

    def _start(
        self, request: HttpRequest, workflow: Workflow, form: StartForm
    ) -> WorkflowRun | None:
        try:
            # Before it is sent: without a row there is nothing to show here.
            persistence.require("Starting a run in the admin")
            data, options = form.input(), form.options()
            # The run and who started it, together; its letter goes out when that commits.
            with transaction.atomic(using=rows.alias()):
                run = get_run(workflow.trigger(data, **options))
                self.log_addition(request, run, _("Started."))
        except (WorkflowError, PublishError, TypeError, ValueError) as error:
            form.add_error(None, str(error))
            return None
        self.message_user(request, _("Started as %s.") % run.run_id, messages.SUCCESS)
        return run
