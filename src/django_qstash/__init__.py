"""Celery's API and durable workflows for Django, with no worker process.

Every public name is here; each is imported when it is first used, so that importing this package
loads neither models nor an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_qstash.application.app import (
        Celery,
    )
    from django_qstash.application.current import (
        current_app,
    )
    from django_qstash.exceptions import (
        ChordError,
        EncodeError,
        IdempotencyConflict,
        Ignore,
        ImproperlyConfigured,
        InputValidationError,
        MaxRetriesExceededError,
        NonDeterminismError,
        NonRetryableError,
        NotRegistered,
        OptionError,
        PayloadTooLarge,
        PublishError,
        Reject,
        Retry,
        RetryAfter,
        RunCanceled,
        RunFailed,
        RunTimeout,
        SoftTimeLimitExceeded,
        StepFailed,
        TaskRevokedError,
        TimeLimitExceeded,
        TimeoutError,  # noqa: A004 - Celery's name
        UnknownWorkflowError,
        WorkflowError,
    )
    from django_qstash.messages import (
        new_id as uuid,
    )
    from django_qstash.tasks.canvas.chain import chain
    from django_qstash.tasks.canvas.chord import chord
    from django_qstash.tasks.canvas.group import group
    from django_qstash.tasks.canvas.maps import chunks, xmap, xstarmap
    from django_qstash.tasks.canvas.signature import (
        Signature,
        maybe_signature,
        signature,
        subtask,
    )
    from django_qstash.tasks.decorators import (
        shared_task,
        stashed_task,
    )
    from django_qstash.tasks.eagerresult import (
        EagerResult,
    )
    from django_qstash.tasks.joining import (
        allow_join_result,
    )
    from django_qstash.tasks.request import (
        current_task,
    )
    from django_qstash.tasks.result import (
        AsyncResult,
    )
    from django_qstash.tasks.resultset import (
        GroupResult,
        ResultSet,
    )
    from django_qstash.tasks.stamping import (
        StampingVisitor,
    )
    from django_qstash.tasks.task import (
        Task,
    )
    from django_qstash.tasks.triggers import (
        CronTrigger,
    )
    from django_qstash.webhook.serve import (
        serve,
    )
    from django_qstash.workflows.asks import (
        Received,
    )
    from django_qstash.workflows.control import (
        cancel_workflow,
        get_run,
        get_run_steps,
        get_stats,
        get_workflow_meta,
        list_runs,
        list_workflows,
        notify,
        send_signal,
        signal_workflow,
        start_workflow,
        wait_workflow,
    )
    from django_qstash.workflows.decorate import (
        define_workflow,
        step,
        workflow,
    )
    from django_qstash.workflows.drive import (
        run_workflow,
    )
    from django_qstash.workflows.handles import (
        RunHandle,
    )
    from django_qstash.workflows.policy import (
        RetryPolicy,
    )

__version__ = "1.0.0a1"

#: Where each public name stands.
_HOMES = {
    "AsyncResult": "tasks.result",
    "Celery": "application.app",
    "ChordError": "exceptions",
    "CronTrigger": "tasks.triggers",
    "EagerResult": "tasks.eagerresult",
    "EncodeError": "exceptions",
    "GroupResult": "tasks.resultset",
    "IdempotencyConflict": "exceptions",
    "Ignore": "exceptions",
    "ImproperlyConfigured": "exceptions",
    "InputValidationError": "exceptions",
    "MaxRetriesExceededError": "exceptions",
    "NonDeterminismError": "exceptions",
    "NonRetryableError": "exceptions",
    "NotRegistered": "exceptions",
    "OptionError": "exceptions",
    "PayloadTooLarge": "exceptions",
    "PublishError": "exceptions",
    "Received": "workflows.asks",
    "Reject": "exceptions",
    "ResultSet": "tasks.resultset",
    "Retry": "exceptions",
    "RetryAfter": "exceptions",
    "RetryPolicy": "workflows.policy",
    "RunCanceled": "exceptions",
    "RunFailed": "exceptions",
    "RunHandle": "workflows.handles",
    "RunTimeout": "exceptions",
    "Signature": "tasks.canvas.signature",
    "SoftTimeLimitExceeded": "exceptions",
    "StampingVisitor": "tasks.stamping",
    "StepFailed": "exceptions",
    "Task": "tasks.task",
    "TaskRevokedError": "exceptions",
    "TimeLimitExceeded": "exceptions",
    "TimeoutError": "exceptions",
    "UnknownWorkflowError": "exceptions",
    "WorkflowError": "exceptions",
    "allow_join_result": "tasks.joining",
    "cancel_workflow": "workflows.control",
    "chain": "tasks.canvas.chain",
    "chord": "tasks.canvas.chord",
    "chunks": "tasks.canvas.maps",
    "current_app": "application.current",
    "current_task": "tasks.request",
    "define_workflow": "workflows.decorate",
    "get_run": "workflows.control",
    "get_run_steps": "workflows.control",
    "get_stats": "workflows.control",
    "get_workflow_meta": "workflows.control",
    "group": "tasks.canvas.group",
    "list_runs": "workflows.control",
    "list_workflows": "workflows.control",
    "maybe_signature": "tasks.canvas.signature",
    "notify": "workflows.control",
    "run_workflow": "workflows.drive",
    "send_signal": "workflows.control",
    "serve": "webhook.serve",
    "shared_task": "tasks.decorators",
    "signal_workflow": "workflows.control",
    "signature": "tasks.canvas.signature",
    "start_workflow": "workflows.control",
    "stashed_task": "tasks.decorators",
    "step": "workflows.decorate",
    "subtask": "tasks.canvas.signature",
    "uuid": "messages",
    "wait_workflow": "workflows.control",
    "workflow": "workflows.decorate",
    "xmap": "tasks.canvas.maps",
    "xstarmap": "tasks.canvas.maps",
}
_ALIASES = {"uuid": "new_id"}

__all__ = [
    "AsyncResult",
    "Celery",
    "ChordError",
    "CronTrigger",
    "EagerResult",
    "EncodeError",
    "GroupResult",
    "IdempotencyConflict",
    "Ignore",
    "ImproperlyConfigured",
    "InputValidationError",
    "MaxRetriesExceededError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotRegistered",
    "OptionError",
    "PayloadTooLarge",
    "PublishError",
    "Received",
    "Reject",
    "ResultSet",
    "Retry",
    "RetryAfter",
    "RetryPolicy",
    "RunCanceled",
    "RunFailed",
    "RunHandle",
    "RunTimeout",
    "Signature",
    "SoftTimeLimitExceeded",
    "StampingVisitor",
    "StepFailed",
    "Task",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
    "UnknownWorkflowError",
    "WorkflowError",
    "__version__",
    "allow_join_result",
    "cancel_workflow",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "define_workflow",
    "get_run",
    "get_run_steps",
    "get_stats",
    "get_workflow_meta",
    "group",
    "list_runs",
    "list_workflows",
    "maybe_signature",
    "notify",
    "run_workflow",
    "send_signal",
    "serve",
    "shared_task",
    "signal_workflow",
    "signature",
    "start_workflow",
    "stashed_task",
    "states",
    "step",
    "subtask",
    "uuid",
    "wait_workflow",
    "workflow",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> Any:
    if name == "states":
        return import_module("django_qstash.states")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'django_qstash' has no attribute {name!r}")
    value = getattr(import_module(f"django_qstash.{home}"), _ALIASES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
