"""What a Celery object, or a receiver of its signals, asks for that is not to be had."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

from django_qstash import signals
from django_qstash.application import known
from django_qstash.checks.configured import TAG


@register(TAG)
def check_celery(**_: Any) -> list[CheckMessage]:
    """E030, W030 to W032: what a Celery object, or its signals, ask for that is not to be had."""
    return [*_celery_settings(), *_silent_signals()]


def _celery_settings() -> Iterator[CheckMessage]:
    """Each Celery object's settings, sorted by what becomes of them here."""
    module = sys.modules.get("django_qstash.application.current")
    for app in [] if module is None else module.all_apps():
        dead: dict[str, list[str]] = {}
        unknown: list[str] = []
        for name, value in app.conf.given().items():
            shown = app.conf.spelled(name)
            if problem := known.complaint(name, value):
                yield Error(f"{shown}: {problem}", id="django_qstash.E030")
            elif why := known.why_without_effect(name):
                dead.setdefault(why, []).append(shown)
            elif name in known.ALWAYS and value != known.ALWAYS[name][0]:
                if name not in ("accept_content", "result_accept_content"):
                    dead.setdefault(known.ALWAYS[name][1], []).append(shown)
            elif not known.is_known(name):
                unknown.append(shown)
        if dead:
            told = "; ".join(f"{', '.join(sorted(names))} ({why})" for why, names in dead.items())
            yield Warning(
                f"These settings of {app} have no effect here: {told}.",
                hint="Remove them, or silence this warning.",
                id="django_qstash.W030",
            )
        if unknown:
            yield Warning(
                f"Celery knows no setting {', '.join(sorted(unknown))} of {app}.",
                hint=_closest(unknown),
                id="django_qstash.W031",
            )


def _closest(names: list[str]) -> str | None:
    settings_of_celery = [*known.HONOURED, *known.ALWAYS, *known.WITHOUT_EFFECT]
    for name in names:
        plain = name.lower().removeprefix("celery_")
        if close := difflib.get_close_matches(plain, settings_of_celery, n=1):
            return f"Did you mean {close[0]!r} by {name}?"
    return None


def _silent_signals() -> Iterator[CheckMessage]:
    heard = [name for name in signals.SILENT if getattr(signals, name).is_heard()]
    for name in sorted(heard):
        yield Warning(
            f"A receiver waits for the signal {name}, which is never sent here: "
            f"{signals.SILENT[name]}.",
            id="django_qstash.W032",
        )
