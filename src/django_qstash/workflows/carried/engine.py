"""A carried run's letter arrives: replay, one step, the next letter; or the end."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_qstash import clock, serialization, states
from django_qstash.conf import settings
from django_qstash.exceptions import (
    EncodeError,
    InputValidationError,
    PublishError,
    RunTimeout,
    Suspend,
    UnknownWorkflowError,
    WorkerLostError,
)
from django_qstash.tasks import execute, receive, send
from django_qstash.tasks.given_up import LIVES
from django_qstash.tasks.options import is_fifo
from django_qstash.tasks.store import Recorded, get_store
from django_qstash.tasks.transient import is_transient
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.workflows import letters, observe
from django_qstash.workflows.bodies import make_context, play
from django_qstash.workflows.carried import ending
from django_qstash.workflows.carried.carrier import Carrier, Full
from django_qstash.workflows.carried.letter import Letter, Run
from django_qstash.workflows.definition import find_workflow, known
from django_qstash.workflows.history import History
from django_qstash.workflows.interrupts import DeadlinePassed, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.messages import TaskMessage
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.replay import Ended

logger = logging.getLogger("django_qstash.workflows")

#: QStash's status for a body over the limit of its plan.
TOO_LARGE = 413


def receive_letter(letter: Mapping[str, Any], delivery: Delivery) -> Reply:
    """Everything that a carried run's letter brings about. Raises :class:`MessageError`."""
    run = Letter.from_dict(letter)
    try:
        workflow = find_workflow(run.workflow)
    except UnknownWorkflowError as error:
        return Reply.unknown(str(error))
    try:
        return advance(workflow, run, delivery)
    except PublishError as error:
        return letters.refused(run, error)


def open_letter(
    workflow: Workflow,
    message: TaskMessage,
    delivery: Delivery,
    forced: execute.Outcome | None,
) -> Reply | execute.Outcome | None:
    """Begin with a run, whose first letter is a task's. See :func:`opening.open_letter`.

    Raises :class:`PublishError`.
    """
    if forced is None and receive.is_over(message):
        return None
    try:
        data = workflow.bind_letter(message)
    except (TypeError, InputValidationError) as error:
        return execute.failure(error)
    limit = workflow.run_timeout
    run = Letter(
        task=message.but(args=(), kwargs={}, eta=None, header=None, stored=None, p=0, life=0),
        data=data,
        deadline=None if limit is None else clock.time() + limit,
    )
    if forced is not None:
        lost = forced.exception or WorkerLostError("It was given up.")
        return ending.fail(Carrier(workflow, run, History()), lost)
    if get_store().durable:
        # Results then know that it is under way: for revoke(), and for schedules that may overlap.
        get_store().expect([message])
    return advance(workflow, run, delivery)


def advance(workflow: Workflow, run: Letter, delivery: Delivery) -> Reply:
    """Do the next step of a run, and send its next letter. Raises :class:`PublishError`."""
    if run.failure:
        return ending.hear(Carrier(workflow, run, History()))
    if (reply := _settled(workflow, run, delivery)) is not None:
        return reply
    if run.number and not run.enqueued and is_fifo(run.task.queue or workflow.queue):
        # QStash's queues know no delay, so it has waited outside of the queue.
        send.post(letters.seal(run.next(steps=run.steps), run.options))
        return Reply.done("enqueued")
    observe.begun(workflow, Run(run), len(run.steps))
    carrier = Carrier(workflow, run, run.history())
    try:
        carrier.context = make_context(workflow, Run(run), carrier)
        ended = play(workflow, carrier.context)
    except (Full, DeadlinePassed, Stop) as interrupt:
        return _interrupted(carrier, interrupt)
    except (TypeError, ValueError) as error:
        # Its input does not fit the code any more.
        return ending.fail(carrier, error)
    if ended.paused:
        return _go_on(carrier)
    return _conclude(carrier, ended)


def _settled(workflow: Workflow, run: Letter, delivery: Delivery) -> Reply | None:
    """The answer to a letter of a run that has ended, as far as the results app can tell."""
    store = get_store()
    if not store.durable:
        return None
    verdict = store.look(run.task)
    if isinstance(verdict, Recorded):
        return receive.answer(run.task, delivery, verdict)
    record = store.fetch(run.id)
    if record is not None and record.status == states.REVOKED:
        return ending.cancel(workflow, run)
    return None


def _interrupted(carrier: Carrier, interrupt: Full | DeadlinePassed | Stop) -> Reply:
    """The answer where the body could not be gone on with."""
    if isinstance(interrupt, Stop):
        return Reply.again(f"the database was in the way: {interrupt.error}")
    if isinstance(interrupt, Full):
        return ending.fail(carrier, interrupt.error)
    run = carrier.letter
    late = RunTimeout(
        f"The run {run.id!r} did not end within {carrier.workflow.run_timeout:g} seconds.",
        run_id=run.id,
    )
    return ending.fail(carrier, late)


def _go_on(carrier: Carrier) -> Reply:
    """Send the next letter. Raises :class:`PublishError`."""
    run, onward = carrier.letter, carrier.onward
    if onward is None:
        # The body has swallowed what ended it; whether it does so again is for QStash to find out.
        return Reply.again("the body did not let itself be interrupted")
    try:
        send.post(letters.seal(onward, run.options, delay=carrier.delay))
    except PublishError as error:
        if error.status != TOO_LARGE:
            raise
        # The plan allows less than the setting says: it would be refused for ever.
        return ending.fail(carrier, error)
    carrier.tell()
    wake_at = clock.now() + timedelta(seconds=carrier.delay)
    observe.suspended(carrier.workflow, run.id, "", wake_at if carrier.delay else None)
    return Reply.done("suspended", "the run goes on with its next message")


def _conclude(carrier: Carrier, ended: Ended) -> Reply:
    """The run has ended, or its body is to be tried again. Raises :class:`PublishError`."""
    workflow, run = carrier.workflow, carrier.letter
    error = ended.error
    if error is None:
        try:
            serialization.dumps(ended.value, what=f"The result of {workflow.name}")
        except EncodeError as refused:
            error = refused
        else:
            return ending.complete(carrier, ended.value)
    if is_transient(error):
        return Reply.again(f"the database was in the way: {error}")
    pause = workflow.policy.next_attempt(error, run.attempt)
    if pause is None:
        return ending.fail(carrier, error)
    logger.warning("The run %s is tried again: %r", run.id, error)
    try:
        carrier.hand_over(pause, attempt=run.attempt + 1)
    except Suspend:
        return _go_on(carrier)
    except Full as full:
        return ending.fail(carrier, full.error)


# --- given up -------------------------------------------------------------------------------------


def given_up(
    callback: Mapping[str, Any],
    letter: Mapping[str, Any],
    delivery: Delivery,  # noqa: ARG001 - as for tasks
) -> Reply:
    """QStash gave a letter up: it is sent again, and then its run has failed.

    Raises :class:`MessageError`.
    """
    run = Letter.from_dict(letter)
    if callback.get("status") == 489:
        return Reply.done("failed already")
    try:
        if run.life < LIVES:
            again = run.but(life=run.life + 1, enqueued=False)
            later = settings.DJANGO_QSTASH_LEASE + receive.MARGIN
            send.post(letters.seal(again, run.options, delay=later))
            return Reply.done("sent again")
        lost = WorkerLostError(
            f"QStash gave up delivering {run.life + 1} times; its last answer was "
            f"{callback.get('status') or 'none'}."
        )
        workflow = known(run.workflow)
        if workflow is None:
            logger.error("The run %s of %s is lost: %s", run.id, run.workflow, lost)
            return Reply.done("lost")
        if not run.failure:
            ending.fail(Carrier(workflow, run, run.history()), lost)
        return Reply.done("failed")
    except PublishError as error:
        return letters.refused(run, error)
