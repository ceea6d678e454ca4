"""Functions that survive: a body whose steps are recorded, so that it can pause and go on.

The public names are here; each is imported when it is first used. ``django_qstash`` has them, too.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Where each public name stands.
HOMES = {
    "Context": "context",
    "Received": "asks",
    "RetryPolicy": "policy",
    "RunHandle": "handles",
    "Workflow": "definition",
    "cancel_workflow": "control",
    "define_workflow": "decorate",
    "get_run": "control",
    "get_run_steps": "control",
    "get_stats": "control",
    "get_workflow_meta": "control",
    "list_runs": "control",
    "list_workflows": "control",
    "notify": "control",
    "run_workflow": "drive",
    "send_signal": "control",
    "signal_workflow": "control",
    "start_workflow": "control",
    "step": "decorate",
    "wait_workflow": "control",
    "workflow": "decorate",
}

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    home = HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
