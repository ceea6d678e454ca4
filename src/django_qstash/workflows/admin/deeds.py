"""What can be done to runs: each a button on a run's page, and an action on the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_qstash.exceptions import WorkflowError
from django_qstash.workflows import rows
from django_qstash.workflows.admin.forms import CancelForm, Nothing, SignalForm
from django_qstash.workflows.control import cancel_workflow, get_dead_letter, send_signal
from django_qstash.workflows.models import OPEN, RunStatus, WorkflowRun

if TYPE_CHECKING:
    from django import forms


@dataclass(frozen=True)
class Deed:
    """``act`` returns what happened, in words for the log; it raises :class:`WorkflowError`."""

    name: str
    label: Any
    #: On the list, for several runs.
    plural: Any
    #: What is asked before it is done.
    question: Any
    #: The permission's first word: "signal" needs ``signal_workflow``.
    permission: str
    form: type[forms.Form]
    #: The statuses of a run that it makes sense for.
    fits: frozenset[str]
    act: Callable[[WorkflowRun, Mapping[str, Any]], str]


def _signal(run: WorkflowRun, said: Mapping[str, Any]) -> str:
    send_signal(run.run_id, said["name"], said["value"])
    name: str = said["name"]
    return _("Sent the signal “%s”.") % name


def _cancel(run: WorkflowRun, said: Mapping[str, Any]) -> str:
    if not cancel_workflow(run.run_id, said["reason"]):
        raise WorkflowError(_("The run %s has ended already.") % run.run_id)
    reason: str = said["reason"]
    return _("Canceled: %s") % reason if reason else _("Canceled.")


def _replay(run: WorkflowRun, _said: Mapping[str, Any]) -> str:
    return _("Replayed as %s.") % get_dead_letter(run.run_id).replay()


def _resume(run: WorkflowRun, _said: Mapping[str, Any]) -> str:
    return _("Resumed as %s.") % get_dead_letter(run.run_id).resume()


DEEDS = {
    deed.name: deed
    for deed in (
        Deed(
            "signal",
            gettext_lazy("Send a signal"),
            gettext_lazy("Send a signal to the selected runs"),
            gettext_lazy("The first wait for this signal that is free receives it."),
            "signal",
            SignalForm,
            OPEN,
            _signal,
        ),
        Deed(
            "resume",
            gettext_lazy("Resume"),
            gettext_lazy("Resume the selected runs"),
            gettext_lazy("A new run starts that keeps what was done before the step that failed."),
            "replay",
            Nothing,
            frozenset({RunStatus.FAILED}),
            _resume,
        ),
        Deed(
            "replay",
            gettext_lazy("Replay"),
            gettext_lazy("Replay the selected runs"),
            gettext_lazy("A new run starts from the beginning, with the same input."),
            "replay",
            Nothing,
            frozenset({RunStatus.FAILED}),
            _replay,
        ),
        Deed(
            "cancel",
            gettext_lazy("Cancel"),
            gettext_lazy("Cancel the selected runs"),
            gettext_lazy("The run and its children end now. on_failure is not called."),
            "cancel",
            CancelForm,
            OPEN,
            _cancel,
        ),
    )
}


def act(deed: Deed, run: WorkflowRun, said: Mapping[str, Any], log: Callable[[str], object]) -> str:
    """Do it and note who did, together or neither. Raises :class:`WorkflowError`."""
    with transaction.atomic(using=rows.alias()):
        happened: str = deed.act(run, said)
        log(happened)
    return happened
