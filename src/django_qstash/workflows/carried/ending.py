"""A carried run's end: what it owes is sent, and nothing of it is left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_qstash.conf import settings
from django_qstash.messages import TaskMessage
from django_qstash.tasks import execute, send
from django_qstash.tasks.failure import exception_as_data, to_exception
from django_qstash.tasks.store import get_store
from django_qstash.tasks.successors import body_of
from django_qstash.tasks.transient import is_transient
from django_qstash.wire.delivery import Reply
from django_qstash.workflows import failures, letters, observe
from django_qstash.workflows.bodies import make_context
from django_qstash.workflows.carried.letter import Run
from django_qstash.workflows.context import entered
from django_qstash.workflows.settling import settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_qstash.wire.envelope import Envelope
    from django_qstash.workflows.carried.carrier import Carrier
    from django_qstash.workflows.carried.letter import Letter
    from django_qstash.workflows.definition import Workflow

logger = logging.getLogger("django_qstash.workflows")


def complete(carrier: Carrier, value: Any) -> Reply:
    """The body has returned ``value``. Raises :class:`PublishError`."""
    _end(carrier, "completed", execute.Outcome("SUCCESS", value))
    return Reply.done("completed")


def cancel(workflow: Workflow, run: Letter) -> Reply:
    """Its task was revoked. Raises :class:`PublishError`."""
    outcome = execute.revoked("revoked")
    _send(run, settle(workflow, run.task, outcome))
    observe.ended(workflow, Run(run, "canceled"), outcome)
    return Reply.done("over", "the run is canceled")


def fail(carrier: Carrier, error: BaseException) -> Reply:
    """It has failed for good: ``on_failure`` hears of it by a letter of its own.

    Raises :class:`PublishError`.
    """
    workflow, run = carrier.workflow, carrier.letter
    logger.error("The run %s has failed: %r", run.id, error, exc_info=error)
    closing: list[Envelope] = []
    too_large = False
    if workflow.on_failure_hook is not None:
        told = run.next(steps=(), failure=_as_data(error))
        too_large = len(told.encode()) > settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE
        if not too_large:
            closing.append(letters.seal(told, run.options))
    elif workflow.failure_url:
        said, account = failures.describe(error), letters.account_of(run.workflow, run.options)
        closing.append(letters.failure_notice(workflow.failure_url, run.id, said, account))
    _end(carrier, "failed", execute.failure(error), closing)
    if too_large:
        # Its input alone fills a message. So it is told here, and told again if this is repeated.
        _call(carrier, error, _step_of(error))
    return Reply.failed("failed", "the run has failed; this message holds what it had done")


def hear(carrier: Carrier) -> Reply:
    """Tell ``on_failure`` what the run has failed with."""
    failure = carrier.letter.failure
    return _call(carrier, to_exception(failure.get("error")), failure.get("step"))


def _call(carrier: Carrier, error: BaseException, step_id: str | None) -> Reply:
    workflow, run = carrier.workflow, carrier.letter
    if workflow.on_failure_hook is None:
        return Reply.done("over")
    try:
        context = make_context(workflow, Run(run), carrier, as_it_is=True)
        context.error, context.failed_step = error, step_id
        with entered(context, in_step=True):
            execute.call(workflow.on_failure_hook, (context,), {})
    except Exception as raised:
        if is_transient(raised):
            return Reply.again(f"the database was in the way: {raised}")
        logger.exception("on_failure of %s raised.", workflow.name)
    return Reply.done("heard")


def _as_data(error: BaseException) -> dict[str, Any]:
    return {"error": exception_as_data(error), "step": _step_of(error)}


def _step_of(error: BaseException) -> str | None:
    return failures.step_of(error) or None


def _end(
    carrier: Carrier, status: str, outcome: execute.Outcome, closing: Sequence[Envelope] = ()
) -> None:
    workflow, run = carrier.workflow, carrier.letter
    _send(run, settle(workflow, run.task, outcome), closing)
    carrier.tell()
    observe.ended(workflow, Run(run, status), outcome)


def _send(run: Letter, follow: Sequence[Any], closing: Sequence[Envelope] = ()) -> None:
    """All that the end owes, in one request: none of it without the rest, as far as QStash goes."""
    owed = [TaskMessage.from_dict(letter) for letter in follow]
    if run.task.chord is not None and get_store().has_fired(run.task.chord["key"]):
        owed += body_of(run.task.chord, run.task)
    envelopes = [*map(send.seal, owed), *closing]
    if envelopes:
        letters.post_all(envelopes)
    for letter in owed:
        send.tell_published(letter)
