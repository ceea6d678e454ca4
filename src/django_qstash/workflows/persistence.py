"""Whether runs are kept in the database, and what is said where they are not."""

from __future__ import annotations

from django.apps import apps

from django_qstash.conf import settings
from django_qstash.exceptions import PersistenceOff, WorkflowError

APP = "django_qstash.workflows"


def is_installed() -> bool:
    """True if there are tables for runs, wherever new ones are kept."""
    return apps.is_installed(APP)


def is_on() -> bool:
    """True if a run that begins now is kept in the database; else its messages carry it."""
    return is_installed() and settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE


def refusal(what: str) -> PersistenceOff:
    """The error for what needs the database; ``what`` begins its sentence."""
    if is_installed():
        remedy = "set DJANGO_QSTASH_WORKFLOW_PERSISTENCE to True"
    else:
        remedy = f"add {APP!r} to INSTALLED_APPS and run 'manage.py migrate'"
    return PersistenceOff(
        f"{what} needs runs that are kept in the database, and here their messages carry them: "
        f"{remedy}."
    )


def missing(run_id: str) -> WorkflowError:
    """The error for a run of which the database knows nothing."""
    if is_on():
        return WorkflowError(f"There is no run {run_id!r}.")
    return refusal(f"Asking after the run {run_id!r}")


def require_table(run_id: str) -> None:
    """Raises :class:`PersistenceOff` unless there may be a row of this run."""
    if not is_installed():
        raise missing(run_id)


def require(what: str) -> None:
    """Raises :class:`PersistenceOff` unless runs are kept in the database."""
    if not is_on():
        raise refusal(what)
