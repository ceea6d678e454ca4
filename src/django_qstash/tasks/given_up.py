"""QStash tells that it gave one of our letters up: send it again, or fail its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_qstash.conf import settings
from django_qstash.exceptions import PublishError, WorkerLostError
from django_qstash.messages import TaskMessage
from django_qstash.tasks import execute, send
from django_qstash.tasks.receive import MARGIN, attempt, unfolded, unpublished
from django_qstash.tasks.registry import tasks
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.wire.envelope import Envelope

#: How often a letter that QStash gave up is sent again before its task is failed.
LIVES = 2


def receive(callback: Mapping[str, Any], letter: Mapping[str, Any], delivery: Delivery) -> Reply:
    """Everything that QStash's failure callback brings about. Raises :class:`MessageError`."""
    message = unfolded(TaskMessage.from_dict(letter))
    try:
        if callback.get("status") == 489:
            pass_on(message, delivery.body)
            return Reply.done("failed already")
        if message.life < LIVES:
            again = message.but(life=message.life + 1, enqueued=False)
            # By then no holder that died still owns it, and what broke it had a while to mend.
            later = settings.DJANGO_QSTASH_LEASE + MARGIN
            send.post(send.seal(again, delay=later))
            return Reply.done("sent again")
        pass_on(message, delivery.body)
        lost = WorkerLostError(
            f"QStash gave up delivering this task {message.life + 1} times; its last answer was "
            f"{callback.get('status') or 'none'}."
        )
        task = tasks.get(message.task)
        return attempt(task, message, delivery, forced=execute.failure(lost))
    except PublishError as error:
        return unpublished(message, error)


def pass_on(message: TaskMessage, body: bytes) -> None:
    """Call the user's own failure_callback with what QStash told us. Raises PublishError."""
    task = tasks.get(message.task)
    own = dict(task.delivery_options()) if task is not None else {}
    own.update(message.options)
    address = own.get("failure_callback")
    if address:
        options = {
            "headers": own.get("failure_callback_headers", {}),
            "deduplication_id": f"{message.deduplication_id}-failed",
        }
        account = send.account_of(message)
        send.post(Envelope(url=address, body=body, options=options, account=account))
