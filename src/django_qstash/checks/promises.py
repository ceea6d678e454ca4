"""What tasks and their times ask for, and this site may not be able to give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.db import router
from django.utils.module_loading import import_string

from django_qstash.checks.configured import TAG
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store

SCHEDULES = "django_qstash.schedules"
#: The apps that have rows of their own.
KEEPING = (
    "django_qstash.outbox",
    "django_qstash.results",
    "django_qstash.workflows",
    SCHEDULES,
)


@register(TAG)
def check_tasks(**_: Any) -> list[CheckMessage]:
    """E004 one name for two tasks."""
    return [
        Error(
            f"The task name {duplicate.name!r} is given to two functions: {duplicate.kept}, which "
            f"has it, and {duplicate.refused}, which can never run.",
            hint="Give one of them another name: @shared_task(name=…).",
            id="django_qstash.E004",
        )
        for duplicate in tasks.duplicates
    ]


@register(TAG)
def check_promises(**_: Any) -> list[CheckMessage]:
    """E008, W012, W013: what tasks ask for that this site's apps and databases cannot give."""
    messages: list[CheckMessage] = []
    atomic = sorted(name for name, task in tasks.items() if task.atomic)
    once = sorted(name for name, task in tasks.items() if task.acks_late is False)
    if not get_store().durable:
        if atomic:
            messages.append(
                Error(
                    f"{', '.join(atomic)}: atomic=True commits the body together with its result, "
                    "and 'django_qstash.results' is not installed.",
                    hint="Add it to INSTALLED_APPS and run migrate.",
                    id="django_qstash.E008",
                )
            )
        if once:
            messages.append(
                Warning(
                    f"{', '.join(once)}: acks_late=False asks to be run at most once, and without "
                    "'django_qstash.results' nobody remembers that it was.",
                    hint="Add it to INSTALLED_APPS and run migrate.",
                    id="django_qstash.W012",
                )
            )
    elif atomic and len(django_settings.DATABASES) > 1:
        alias = router.db_for_write(import_string("django_qstash.results.models.TaskResult"))
        messages.append(
            Warning(
                f"{', '.join(atomic)}: atomic=True commits on the database {alias!r} of the "
                "results, and on no other; effects on other databases may happen twice.",
                hint=f"Write to {alias!r} only in these tasks, and silence this warning.",
                id="django_qstash.W013",
            )
        )
    return messages


@register(TAG)
def check_instants(**_: Any) -> list[CheckMessage]:
    """E011: rows of ours hold instants, and the site's have no time zone."""
    keeping = sorted(filter(apps.is_installed, KEEPING))
    if django_settings.USE_TZ or not keeping:
        return []
    return [
        Error(
            f"USE_TZ is False, and {', '.join(keeping)} keep instants: SQLite and MySQL refuse "
            "them then, and PostgreSQL gives them back without their zone.",
            hint="Set USE_TZ = True. Django's documentation, under time zones, has a guide.",
            id="django_qstash.E011",
        )
    ]


@register(TAG)
def check_schedules(**_: Any) -> list[CheckMessage]:
    """W015, W016, E010: code says when something runs, and it cannot be so."""
    if apps.is_installed(SCHEDULES):
        return list(_declared())
    timed = sorted(name for name, task in tasks.items() if task.cron is not None)
    found = [f"cron= of {', '.join(timed)}"] if timed else []
    # Canvases come with it, which loading the apps does without.
    from django_qstash.application import periodic

    with suppress(ImproperlyConfigured):  # E001 says so
        if entries := sorted(map(str, periodic.entries())):
            found.append(f"beat_schedule or add_periodic_task: {', '.join(entries)}")
    if not found:
        return []
    return [
        Warning(
            f"These never run, since {SCHEDULES!r} is not installed: {'; '.join(found)}.",
            hint="Add it to INSTALLED_APPS, run migrate, and then task_schedules --sync.",
            id="django_qstash.W015",
        )
    ]


def _declared() -> Iterator[CheckMessage]:
    from django_qstash.schedules import code

    with suppress(ImproperlyConfigured):  # E001 says so
        for each in code.declared():
            if each.needs_results:
                yield Error(
                    f"The schedule {each.name!r} in the code: {each.problem}",
                    hint="Or leave its overlap out.",
                    id="django_qstash.E010",
                )
            elif problem := each.problem or code.misfit(each):
                yield Warning(
                    f"The schedule {each.name!r} in the code: {problem}",
                    hint="Mend it, and then run task_schedules --sync.",
                    id="django_qstash.W016",
                )
