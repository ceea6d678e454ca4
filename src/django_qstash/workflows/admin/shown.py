"""Values and times as the admin shows them; everything is escaped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from django_qstash import serialization
from django_qstash.workflows.models import STATUSES, WorkflowRun

if TYPE_CHECKING:
    from datetime import datetime

#: Characters of one value that a page shows.
LONGEST = 20_000
#: Seconds, and how a duration of that many is written.
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float | None) -> str:
    """A duration in two units at most: ``12 ms``, ``4.2 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        text = f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:.0f}"
        return f"{text.removesuffix('.0')} s"
    whole = round(seconds)
    words: list[str] = []
    for size, name in UNITS:
        if (count := whole // size) and len(words) < 2:
            words.append(f"{count} {name}")
            whole -= count * size
        elif words:
            break
    return " ".join(words)


def between(begin: datetime | None, end: datetime | None) -> float | None:
    """Seconds from one moment to another."""
    return None if begin is None or end is None else max(0.0, (end - begin).total_seconds())


def text_of(value: Any) -> str:
    """A value as indented JSON, cut where it is very long."""
    plain = json.loads(serialization.dumps(value))
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST] + "\n" + _("… and %d more characters.") % (len(text) - LONGEST)


def breakable(name: str) -> str:
    """A dotted name that may be broken after its dots."""
    return format_html_join(mark_safe(".<wbr>"), "{}", ((part,) for part in name.split(".")))


def value(value: Any) -> str:
    return "-" if value is None else block(text_of(value))


def block(text: str) -> str:
    return format_html('<pre class="qstash-value">{}</pre>', text) if text else "-"


def status(name: str) -> str:
    """A run's or step's status as a coloured mark."""
    return format_html(
        '<span class="qstash-status qstash-{}">{}</span>', name, STATUSES.get(name, name)
    )


def link_to_run(run: WorkflowRun | None, text: str = "") -> str:
    if run is None:
        return "-"
    return format_html('<a href="{}">{}</a>', address_of(run), text or run.run_id)


def address_of(run: WorkflowRun) -> str:
    """The page of a run, in the admin site that is installed under its usual name."""
    return reverse("admin:django_qstash_workflows_workflowrun_change", args=[run.pk])
