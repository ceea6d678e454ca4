"""The forms behind the admin's buttons: what a run is started with, told, or ended for."""

from __future__ import annotations

import inspect
import json
import typing
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

from django_qstash import durations, serialization
from django_qstash.exceptions import EncodeError
from django_qstash.workflows.names import check_name

if TYPE_CHECKING:
    from django_qstash.workflows.definition import Workflow

JSON_HELP = _('JSON, such as 7, true, ["a", "b"] or {"order": 7}; what is not JSON is a text.')


class JSONOrText(forms.CharField):
    """A JSON value; what does not read as JSON is a text. Nothing typed is ``None``."""

    widget = forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField qstash-json"})

    def to_python(self, value: Any) -> Any:
        text = (value or "").strip()
        if not text:
            return None
        try:
            return serialization.loads(text)
        except ValueError:
            return text

    def validate(self, value: Any) -> None:
        if self.required and value is None:
            raise forms.ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """It may be any value: validators of texts have nothing to say."""


class Nothing(forms.Form):
    """A button that only asks whether it is meant."""


class SignalForm(forms.Form):
    name = forms.CharField(
        label=_("Signal"), max_length=200, widget=forms.TextInput(attrs={"class": "vTextField"})
    )
    value = JSONOrText(label=_("Data"), required=False, help_text=JSON_HELP)

    def clean_name(self) -> str:
        try:
            return check_name(self.cleaned_data["name"], "A signal's name")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


class CancelForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


class StartForm(forms.Form):
    """The parameters of one workflow, and the options of the run.

    A parameter that is annotated as ``str``, ``int``, ``float`` or ``bool`` has a field of that
    kind; every other takes JSON. What is left empty is left out, so that its default holds.
    """

    def __init__(self, workflow: Workflow, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workflow = workflow
        hints = _hints(workflow)
        self.parameters = list(workflow.signature_of_run().parameters.values())
        for parameter in self.parameters:
            self.fields[f"input-{parameter.name}"] = _field(parameter, hints.get(parameter.name))
        if not self.parameters:
            self.fields["value"] = JSONOrText(label=_("Input"), required=False, help_text=JSON_HELP)
        text = forms.TextInput(attrs={"class": "vTextField"})
        self.fields["run_id"] = forms.CharField(
            label=_("Run id"),
            required=False,
            max_length=255,
            widget=text,
            help_text=_("A new one by default. The id of a run that is there leads to that run."),
        )
        self.fields["idempotency_key"] = forms.CharField(
            label=_("Idempotency key"), required=False, max_length=200, widget=text
        )
        self.fields["delay"] = forms.CharField(
            label=_("Delay"), required=False, widget=text, help_text=_("Such as 30, 5m or 2h.")
        )

    def clean_delay(self) -> float | None:
        given: str = self.cleaned_data["delay"]
        if not given:
            return None
        try:
            return durations.seconds(given)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def input(self) -> Any:
        """What the run is started with. Raises ``TypeError`` if that does not fit the body."""
        if not self.parameters:
            return self.cleaned_data["value"]
        given: dict[str, Any] = {}
        for parameter in self.parameters:
            value = self.cleaned_data[f"input-{parameter.name}"]
            if value is None or value == "":
                continue
            if parameter.kind != inspect.Parameter.VAR_KEYWORD:
                given[parameter.name] = value
            elif isinstance(value, dict):
                given |= value
            else:
                raise TypeError(f"{parameter.name} must be a JSON object, not {value!r}.")
        return self.workflow.bind_call((), given)

    def options(self) -> dict[str, Any]:
        """The options of :meth:`Workflow.trigger` that were given."""
        names = ("run_id", "idempotency_key", "delay")
        return {name: self.cleaned_data[name] for name in names if self.cleaned_data[name]}


def _hints(workflow: Workflow) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(workflow.function))
    except (NameError, TypeError, AttributeError):
        # An annotation names what is imported for type checkers only.
        return {}


def _field(parameter: inspect.Parameter, hint: Any) -> forms.Field:
    required = parameter.default is parameter.empty
    if parameter.kind == inspect.Parameter.VAR_KEYWORD:
        return JSONOrText(
            label=parameter.name, required=False, help_text=_("A JSON object of further names.")
        )
    options: dict[str, Any] = {
        "label": parameter.name,
        "required": required,
        "initial": None if required else _shown(parameter.default, hint),
    }
    if hint is str:
        return forms.CharField(widget=forms.TextInput(attrs={"class": "vTextField"}), **options)
    if hint is int:
        return forms.IntegerField(
            widget=forms.NumberInput(attrs={"class": "vTextField"}), **options
        )
    if hint is float:
        return forms.FloatField(widget=forms.NumberInput(attrs={"class": "vTextField"}), **options)
    if hint is bool:
        choices = [("", "---------"), (True, _("yes")), (False, _("no"))]
        return forms.TypedChoiceField(
            choices=choices, coerce=lambda text: text == "True", empty_value=None, **options
        )
    return JSONOrText(help_text=JSON_HELP, **options)


def _shown(default: Any, hint: Any) -> Any:
    """A default as the field shows it."""
    if default is None or hint in (str, int, float, bool):
        return default
    try:
        return json.dumps(json.loads(serialization.dumps(default)), ensure_ascii=False)
    except EncodeError:
        # JSON cannot carry it, so it cannot be typed either; left empty it holds all the same.
        return None
