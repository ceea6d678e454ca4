"""QStash gave a workflow's letter up: it is sent again, and then its run or branch has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.conf import settings
from django_qstash.exceptions import PublishError, WorkerLostError
from django_qstash.messages import WorkflowMessage
from django_qstash.tasks import send
from django_qstash.tasks.given_up import LIVES
from django_qstash.tasks.receive import MARGIN
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.workflows import branches, ending, engine, letters, rows
from django_qstash.workflows.definition import known
from django_qstash.workflows.models import FINAL, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Mapping


def receive(
    callback: Mapping[str, Any],
    letter: Mapping[str, Any],
    delivery: Delivery,  # noqa: ARG001 - as for tasks
) -> Reply:
    """Everything that QStash's failure callback brings about. Raises :class:`MessageError`."""
    message = WorkflowMessage.from_dict(letter)
    if callback.get("status") == 489:
        return Reply.done("failed already")
    run = rows.runs().filter(run_id=message.id).first()
    if run is None:
        return Reply.done("over")
    try:
        if run.status in FINAL:
            return _tell(message, run)
        if not message.step and run.generation != message.generation:
            if run.generation == message.generation + 1:
                # Put down by the last delivery, which may have died before its letter was sent.
                engine.republish(run)
            return Reply.done("past", "the run has gone past this message")
        if message.life < LIVES:
            again = message.but(life=message.life + 1, enqueued=False)
            # By then no holder that died still owns it, and what broke it had a while to mend.
            later = settings.DJANGO_QSTASH_LEASE + MARGIN
            send.post(letters.seal(again, run.options, delay=later))
            return Reply.done("sent again")
        return _fail(message, callback)
    except PublishError as error:
        return letters.refused(message, error)


def _tell(message: WorkflowMessage, run: WorkflowRun) -> Reply:
    """It has ended, perhaps by an earlier delivery of this, which died before it told anybody."""
    if ending.tell(known(message.workflow), run):
        return Reply.done("over")
    return Reply.again("what follows is not done yet", after=30)


def _fail(message: WorkflowMessage, callback: Mapping[str, Any]) -> Reply:
    lost = WorkerLostError(
        f"QStash gave up delivering {message.life + 1} times; its last answer was "
        f"{callback.get('status') or 'none'}."
    )
    if message.step:
        return branches.give_up(message, lost)
    hold = rows.claim(message)
    if hold is None:
        run = rows.runs().filter(run_id=message.id, generation=message.generation).first()
        if run is not None and run.lease_token is not None:
            return Reply.again("somebody is at work on the run", after=30)
        return Reply.done("past")
    if not ending.fail(known(message.workflow), hold, lost):
        return Reply.again("what follows is not done yet", after=30)
    return Reply.done("failed")
