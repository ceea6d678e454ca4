"""A run is started without a database: by a task's letter, which becomes its first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.messages import derived_run
from django_qstash.tasks import options as call_options
from django_qstash.tasks.eagerresult import EagerResult
from django_qstash.workflows import persistence
from django_qstash.workflows.handles import RunHandle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.tasks.result import AsyncResult
    from django_qstash.workflows.definition import Workflow


def trigger(
    workflow: Workflow,
    data: Any,
    *,
    run_id: str | None,
    idempotency_key: str | None,
    when: Mapping[str, Any],
    options: Mapping[str, Any],
    queue: str | None,
) -> RunHandle:
    """See :meth:`Workflow.trigger`. Raises :class:`PersistenceOff` for an idempotency key."""
    if idempotency_key is not None:
        raise persistence.refusal("An idempotency_key")
    given = {"queue": queue, "eta": call_options.due(when), **options}
    own = {name: value for name, value in given.items() if value is not None}
    if run_id is not None:
        call_options.check_task_id(run_id, "run_id")
        # What stands in for a run that is there already: for ten minutes QStash drops the second.
        own["deduplication_id"] = derived_run(run_id, "carried")
    args, kwargs = ((), data) if workflow.input.is_named else ((data,), {})
    handle: RunHandle = workflow.apply_async(args, kwargs, run_id, **own)
    return handle


def handle_of(sent: AsyncResult[Any]) -> Any:
    """What the caller of ``apply_async`` holds."""
    return sent if isinstance(sent, EagerResult) else RunHandle(sent.id)
