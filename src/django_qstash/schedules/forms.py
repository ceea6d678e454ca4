"""The form of a schedule: a task is chosen, and its arguments are held against its signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from django_qstash.exceptions import CronError, InputValidationError, NotRegistered
from django_qstash.schedules import catalogue
from django_qstash.schedules.models import TaskSchedule
from django_qstash.sql.fields import PlainJSONField
from django_qstash.tasks.registry import tasks
from django_qstash.wire.cron import UTC, Cron

if TYPE_CHECKING:
    from django.core.exceptions import ValidationError


class SearchedSelect(forms.Select):
    """A list to search in, by the library that the admin brings along; without it, a plain one."""

    @property
    def media(self) -> forms.Media:
        least = "" if settings.DEBUG else ".min"
        return forms.Media(
            css={
                "screen": (
                    f"admin/css/vendor/select2/select2{least}.css",
                    "admin/css/autocomplete.css",
                )
            },
            js=(
                f"admin/js/vendor/jquery/jquery{least}.js",
                f"admin/js/vendor/select2/select2.full{least}.js",
                "admin/js/jquery.init.js",
            ),
        )


class ValueFormField(forms.JSONField):
    """A JSON text; what is left empty is the default of its column."""

    default_error_messages = {
        "invalid": _(
            "This is not JSON. Texts and names stand in double quotes: "
            '["Berlin", 3] or {"days": 30}.'
        )
    }

    def __init__(self, *, empty: Any, **kwargs: Any) -> None:
        self.empty = empty
        field = PlainJSONField()
        super().__init__(
            encoder=field.encoder, decoder=field.decoder, initial=empty, required=False, **kwargs
        )

    def to_python(self, value: Any) -> Any:
        found = super().to_python(value)
        return self.empty() if found is None else found

    def bound_data(self, data: Any, initial: Any) -> Any:
        return super().bound_data(data, initial) if data else data

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(initial if initial is not None else self.empty(), data)


def _json(empty: Any, label: Any, help_text: Any = "", rows: int = 2) -> ValueFormField:
    widget = forms.Textarea(attrs={"rows": rows, "class": "vLargeTextField qs-json"})
    return ValueFormField(empty=empty, label=label, help_text=help_text, widget=widget)


class TaskScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """Checks what :meth:`TaskSchedule.save` checks, and the arguments as well."""

    args = _json(list, _("Arguments"), _("A JSON list, in the order of the parameters: [1, 2]"))
    kwargs = _json(dict, _("Keyword arguments"), _('A JSON object by parameter: {"days": 30}'))
    headers = _json(dict, _("Headers"), _("A JSON object; the task finds them in its request."))
    callback_headers = _json(dict, _("Callback headers"))
    failure_callback_headers = _json(dict, _("Failure callback headers"))
    flow_control = _json(
        dict, _("Flow control"), _('Such as {"key": "mail", "rate": 10, "period": 60}')
    )

    class Meta:
        model = TaskSchedule
        exclude = ()  # noqa: DJ006 - all that can be edited
        widgets = {
            "cron": forms.TextInput(
                attrs={"class": "vTextField qs-cron", "autocomplete": "off", "spellcheck": "false"}
            ),
        }
        help_texts = {
            "cron": _(
                "Minute, hour, day of the month, month, day of the week: 0 9 * * mon-fri is nine "
                "o'clock on working days."
            ),
            "overlap": _("What happens when a run is due while the one before it is at work."),
            "retries": _("How often QStash delivers again after a crash, a time-out or a 5xx."),
            "timeout": _("How long QStash waits for an answer, such as 90s."),
            "retry_delay": _("Milliseconds between deliveries, such as 1000 * (1 + retried)."),
            "delay": _("How long QStash holds each run back, such as 30s."),
            "redact": _("What QStash does not show in its logs: body, header or header[Name]."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "task_name" in self.fields:
            self._offer_tasks()
        if "timezone" in self.fields:
            self._offer_zones()

    def _offer_tasks(self) -> None:
        known = catalogue.choices()
        now = self.instance.task_name
        if now and now not in dict(known):
            known = [(now, _("%(name)s (not in the code any more)") % {"name": now}), *known]
        self.fields["task_name"].widget = SearchedSelect(
            choices=[("", _("Choose a task …")), *known], attrs={"class": "qs-search qs-task"}
        )

    def _offer_zones(self) -> None:
        names = sorted(available_timezones() - {UTC})
        self.fields["timezone"].widget = SearchedSelect(
            choices=[("", UTC), *((name, name) for name in names)],
            attrs={"class": "qs-search qs-zone"},
        )
        if self.instance.pk is None and settings.TIME_ZONE != UTC:
            self.fields["timezone"].initial = settings.TIME_ZONE

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        zone = found.get("timezone")
        if zone and (cron := found.get("cron")):
            found["timezone"] = self._one_zone(cron, zone)
        if {"task_name", "args", "kwargs"} <= found.keys():
            self._check_arguments(found)
        return found

    def _update_errors(self, errors: ValidationError) -> None:
        # The model looks at every column; what a field has said already is said once.
        if hasattr(errors, "error_dict"):
            for name in self.errors.keys() & errors.error_dict.keys():
                del errors.error_dict[name]
        super()._update_errors(errors)  # type: ignore[misc]

    def _one_zone(self, cron: str, zone: str) -> str:
        """The zone to keep: an expression that names one needs none beside it."""
        try:
            Cron.parse(cron, zone)
        except CronError:
            try:
                return "" if Cron.parse(cron).zone != UTC or "TZ=" in cron else zone
            except CronError:
                return zone
        return zone

    def _check_arguments(self, found: dict[str, Any]) -> None:
        if not isinstance(found["args"], list) or not isinstance(found["kwargs"], dict):
            return  # the model says what they have to be
        try:
            task = tasks.find(found["task_name"])
            task.check_arguments(found["args"], found["kwargs"])
        except NotRegistered:
            return
        except (TypeError, InputValidationError) as error:
            self.add_error("args", str(error))
