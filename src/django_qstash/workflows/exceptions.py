"""The errors of workflows; their home is :mod:`django_qstash.exceptions`."""

from django_qstash.exceptions import (
    IdempotencyConflict,
    InputValidationError,
    NonDeterminismError,
    NonRetryableError,
    PersistenceOff,
    RetryAfter,
    RunCanceled,
    RunFailed,
    RunTimeout,
    StepFailed,
    UnknownWorkflowError,
    WorkflowError,
)

__all__ = [
    "IdempotencyConflict",
    "InputValidationError",
    "NonDeterminismError",
    "NonRetryableError",
    "PersistenceOff",
    "RetryAfter",
    "RunCanceled",
    "RunFailed",
    "RunTimeout",
    "StepFailed",
    "UnknownWorkflowError",
    "WorkflowError",
]
