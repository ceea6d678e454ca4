"""A run's letter arrives: claim, replay, go on, put down or end. Section E of the protocol."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import (
    EncodeError,
    LeaseLost,
    PublishError,
    RunTimeout,
    Suspend,
    UnknownWorkflowError,
    WorkerLostError,
)
from django_qstash.messages import WorkflowMessage
from django_qstash.tasks import options as call_options
from django_qstash.tasks import send
from django_qstash.tasks.options import is_fifo
from django_qstash.tasks.renewal import kept
from django_qstash.tasks.transient import is_transient
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.workflows import (
    branches,
    calling,
    children,
    ending,
    errands,
    events,
    fans,
    functions,
    held,
    letters,
    observe,
    records,
    rehearsal,
    rows,
    sleeping,
    sweep,
    waiting,
)
from django_qstash.workflows.bodies import make_context, play, queue_of
from django_qstash.workflows.definition import Workflow, find_workflow
from django_qstash.workflows.history import Kind
from django_qstash.workflows.interrupts import DeadlinePassed, Stop
from django_qstash.workflows.models import FINAL, RunStatus, WorkflowRun
from django_qstash.workflows.turn import Performer, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.workflows.replay import Ended
    from django_qstash.workflows.rows import Hold

logger = logging.getLogger("django_qstash.workflows")

PERFORMERS: dict[str, Performer] = {
    Kind.RUN: functions.perform,
    Kind.VALUE: functions.perform,
    Kind.VERSION: functions.perform,
    Kind.SLEEP: sleeping.sleep,
    Kind.SIGNAL: waiting.signal,
    Kind.EVENT: waiting.event,
    Kind.START: children.start,
    Kind.CHILD: children.run,
    Kind.TASK: errands.task,
    Kind.CALL: calling.perform,
}


def receive(letter: Mapping[str, Any], delivery: Delivery) -> Reply:  # noqa: ARG001
    """Everything that a workflow's letter brings about. Raises :class:`MessageError`."""
    message = WorkflowMessage.from_dict(letter)
    try:
        workflow = find_workflow(message.workflow)
    except UnknownWorkflowError as error:
        return Reply.unknown(str(error))
    try:
        work = branches.receive if message.step else advance
        reply = work(workflow, message)
    except PublishError as error:
        return letters.refused(message, error)
    sweep.by_traffic()
    return reply


def advance(workflow: Workflow, message: WorkflowMessage) -> Reply:
    """Go on with a run, as far as this delivery may. Raises :class:`PublishError`."""
    hold = rows.claim(message)
    if hold is None:
        return stand(workflow, message)
    if not message.enqueued and is_fifo(queue_of(workflow, hold.run)) and _waited(message):
        envelope = letters.seal(message, hold.run.options, fresh=True)
        hold.release(envelope)
        send.post(envelope)
        return Reply.done("enqueued")
    hold.meter.count_copies(message)
    try:
        with kept(hold, message, hold.token), hold.meter.running():
            return go_on(workflow, hold)
    except LeaseLost:
        logger.warning("The run %s was canceled or taken over.", message.id)
        # Not 200 as such: whoever took it over may have died, or been turned away, since.
        return stand(workflow, message)
    except Stop as stop:
        if isinstance(stop.error, PublishError):
            hold.release()
            raise stop.error from None
        if not is_transient(stop.error):
            raise stop.error from None
        return _unavailable(hold, stop.error)
    except DatabaseError as error:
        if not is_transient(error):
            raise
        return _unavailable(hold, error)


def _unavailable(hold: Hold, error: Exception) -> Reply:
    try:
        hold.release()
    except DatabaseError:
        logger.warning("The lease of run %s is kept.", hold.run.run_id)
    return Reply.again(f"the database was in the way: {error}")


def _waited(message: WorkflowMessage) -> bool:
    return bool(message.generation or message.p or message.life)


def go_on(workflow: Workflow, hold: Hold) -> Reply:
    """Replay the claimed run and do what is new. Raises :class:`LeaseLost`, Stop, PublishError."""
    history = records.read(hold.alias, hold.run)
    hold.count_progress(len(history.entries))
    run = hold.run
    observe.begun(workflow, run, len(history.entries))
    if run.attempts > settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS:
        lost = WorkerLostError(
            f"The process died, or the delivery was cut off, {run.attempts - 1} times while this "
            "run went on."
        )
        return _failed(workflow, hold, lost)
    if not history.entries and run.generation == 0 and _has_expired(workflow, run):
        ending.cancel(run, "expired")
        return Reply.done("expired")
    if run.deadline is not None and clock.now() >= run.deadline:
        return _failed(workflow, hold, _too_late(workflow, run))
    if run.branches:
        # Whoever began the last fan-out died, or was refused, before its letters were sent.
        fans.republish(run)
    turn = Turn(hold, workflow, history, PERFORMERS)
    try:
        turn.context = make_context(workflow, run, turn)
        ended = play(workflow, turn.context)
    except DeadlinePassed:
        return _failed(workflow, hold, _too_late(workflow, run))
    except (TypeError, ValueError) as error:
        # Its input does not fit the code any more.
        return _failed(workflow, hold, error)
    if ended.paused:
        letters.post_all(turn.outbound)
        return Reply.done("suspended")
    if rehearsal.stage is not None:
        rehearsal.stage.ended(turn)
    return conclude(workflow, turn, ended)


def _has_expired(workflow: Workflow, run: WorkflowRun) -> bool:
    """True for a run that was not to begin any more by now. Celery: ``expires``."""
    expires: Any = (run.origin or {}).get("expires")
    if expires is None and run.origin is None:
        # Triggered, rather than sent as a task.
        expires = call_options.expiry(workflow.expires, run.created_at.timestamp())
    return expires is not None and call_options.instant(expires) < clock.time()


def _too_late(workflow: Workflow, run: WorkflowRun) -> RunTimeout:
    seconds = workflow.run_timeout
    said = "in its time" if seconds is None else f"within {seconds:g} seconds"
    return RunTimeout(f"The run {run.run_id!r} did not end {said}.", run_id=run.run_id)


def conclude(workflow: Workflow, turn: Turn, ended: Ended) -> Reply:
    """Record how the body ended, or that it is to be tried again."""
    hold = turn.hold
    error = ended.error
    if error is None:
        try:
            branched = turn.history.last_fan() > 0
            ending.complete(workflow, hold, ended.value, branched=branched)
        except EncodeError as refused:
            error = refused
        else:
            return Reply.done("completed")
    if isinstance(error, Exception) and is_transient(error):
        raise Stop(error) from error
    pause = workflow.policy.next_attempt(error, hold.run.attempt)
    if pause is None:
        return _failed(workflow, hold, error)
    logger.warning("The run %s is tried again: %r", hold.run.run_id, error)
    try:
        while True:
            wake_at = clock.now() + timedelta(seconds=pause)
            turn.suspend(wake_at=wake_at, attempt=hold.run.attempt + 1)
    except Suspend:
        letters.post_all(turn.outbound)
    return Reply.done("retry")


def _failed(workflow: Workflow, hold: Hold, error: BaseException) -> Reply:
    logger.error("The run %s has failed: %r", hold.run.run_id, error, exc_info=error)
    if not ending.fail(workflow, hold, error):
        return stand(workflow, letters.of_run(hold.run))
    return Reply.failed("failed", "the run has failed; its dead letter is in the database")


# --- letters that are not ours to act on ----------------------------------------------------------


def stand(workflow: Workflow, message: WorkflowMessage) -> Reply:
    """The answer to a letter that could not be claimed. Raises :class:`PublishError`."""
    run = held.looked_at(rows.runs().filter(run_id=message.id))
    if run is None:
        return Reply.again("the run is not there yet")
    if run.status in FINAL:
        if ending.tell(workflow, run):
            return Reply.done("over", f"the run is {run.status}")
        return _later(run, message)
    if run.generation > message.generation:
        if run.generation == message.generation + 1:
            republish(run)
        return Reply.done("past", "the run has gone past this message")
    if run.generation < message.generation:
        return Reply.again("the message is ahead of its run")
    if run.status == RunStatus.WAITING and not run.wakes_by_letter:
        return Reply.done("waiting", "the run waits for something else")
    return _later(run, message)


def _later(run: Any, message: WorkflowMessage) -> Reply:
    """Send a copy for when the lease has ended, or its time has come. Raises PublishError."""
    wait = held.wait_for(run)
    if not wait:
        return Reply.again("the run is being put down", after=1)
    letters.post_copy(message, run, wait)
    return Reply.done("busy", "a copy comes later")


def republish(run: WorkflowRun) -> None:
    """Publish again what the last delivery may have died before. Raises :class:`PublishError`."""
    if run.status not in (RunStatus.PENDING, RunStatus.WAITING):
        return
    if run.status == RunStatus.PENDING or run.wakes_by_letter:
        delay = letters.seconds_until(run.wake_at, clock.now())
        send.post(letters.seal(letters.of_run(run), run.options, delay=delay))
    if run.waits == "branches":
        fans.republish(run)
    elif run.waits.startswith("task:"):
        errands.republish(run)
    elif run.waits.startswith("child:"):
        owing = list(rows.runs().filter(parent=run, owed__isnull=False))
        if owing:
            events.publish_owed(owing)
