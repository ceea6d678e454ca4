"""System checks of workflows: what bodies must not do, and which runs new code would break."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004
from django.db import Error, transaction

from django_qstash.tasks.registry import tasks
from django_qstash.workflows.persistence import is_installed

TAG = "django_qstash"
#: Runs that ``check --deploy`` looks at, the newest.
LIMIT = 1000


@register(TAG)
def check_bodies(**_: Any) -> list[CheckMessage]:
    """W050 clocks, chance and the network in the bodies of workflows, outside of steps."""
    # Whoever has a workflow has imported its class.
    definition = sys.modules.get("django_qstash.workflows.definition")
    if definition is None:
        return []
    found = [task for _, task in sorted(tasks.items()) if isinstance(task, definition.Workflow)]
    return [warning for workflow in found for warning in _impurities(workflow)]


def _impurities(workflow: Any) -> Iterator[CheckMessage]:
    from django_qstash.workflows import purity

    hints = {
        purity.CLOCK: "ctx.now() is recorded; or put the call into a step.",
        purity.CHANCE: "ctx.random() and ctx.uuid() are recorded; or put the call into a step.",
        purity.PAUSE: "ctx.step.sleep() pauses the run and holds nothing up.",
        purity.NETWORK: "Use ctx.step.call(), or put the call into a step: ctx.step.run().",
    }
    for call in purity.calls(workflow.function):
        yield Warning(
            f"The body of the workflow {workflow.name} calls {call.text}() outside of a step "
            f"({call.file}, line {call.line}). It goes by {call.kind}, and is called again at each "
            "replay.",
            hint=hints[call.kind],
            id="django_qstash.W050",
        )


@register(TAG, Tags.database, deploy=True)
def check_runs(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """W051 runs that would break with this code. Silent where the rows cannot be read."""
    if not is_installed():
        return []
    from django_qstash.workflows import rows
    from django_qstash.workflows.forecast import forecast_all

    alias = rows.alias()
    if databases is not None and alias not in databases:
        return []
    try:
        # So that an error leaves a caller's own transaction as it was.
        with transaction.atomic(using=alias):
            findings = list(forecast_all(limit=LIMIT))
    except Error:
        return []
    broken = [finding for finding in findings if finding.breaks]
    if not broken:
        return []
    said = f"{broken[0].run_id} of {broken[0].workflow}: {broken[0].error}"
    return [
        Warning(
            f"{len(broken)} of the {len(findings)} newest runs that have not ended would break "
            f"with this code, such as {said}",
            hint="'manage.py workflows check' names them all.",
            id="django_qstash.W051",
        )
    ]
