"""A run's body: the context that it gets, and playing it over what is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from django_qstash.exceptions import InputValidationError
from django_qstash.workflows.context import Context, RunInfo
from django_qstash.workflows.replay import Ended, replay

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Host
    from django_qstash.workflows.definition import Workflow


class Run(Protocol):
    """A run as its body is to see it: a row, or what a letter carries."""

    run_id: Any
    workflow_id: Any
    data: Any
    options: Any
    attempt: Any
    deadline: Any
    idempotency_key: Any

    def was_canceled(self) -> bool:
        """True if somebody has canceled it since it was read."""
        ...


def make_context(workflow: Workflow, run: Run, host: Host, *, as_it_is: bool = False) -> Context:
    """The ``ctx`` of a run. Raises :class:`InputValidationError`.

    With ``as_it_is`` not: input that the code does not take any more is given as it was stored.
    """
    try:
        data = workflow.input.validated(run.data)
    except InputValidationError:
        if not as_it_is:
            raise
        data = run.data
    return Context(
        host,
        run=RunInfo(
            id=run.run_id,
            workflow=run.workflow_id,
            queue=queue_of(workflow, run),
            attempt=run.attempt,
            max_attempts=workflow.policy.max_attempts,
        ),
        data=data,
        deadline=run.deadline,
        idempotency_key=run.idempotency_key,
        is_async=workflow.is_async,
        strict=workflow.strict,
        is_canceled=run.was_canceled,
    )


def play(workflow: Workflow, context: Context) -> Ended:
    """Run the body from its start, as :func:`replay` does.

    Raises ``TypeError`` for input that does not fit the body any more.
    """
    args, kwargs = workflow.input.arguments(context.data)
    return replay(workflow.function, context, args, kwargs)


def queue_of(workflow: Workflow, run: Run) -> str | None:
    """The queue that the run's letters go through: its own, or its workflow's."""
    own: str | None = (run.options or {}).get("queue")
    return own or workflow.queue
