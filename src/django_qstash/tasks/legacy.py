"""Letters of django-qstash 0.x that were in QStash, or in its schedules, when the site moved on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django_qstash import messages
from django_qstash.exceptions import MessageError, NotRegistered
from django_qstash.messages import TaskMessage, derived_run
from django_qstash.tasks.receive import receive as receive_task
from django_qstash.tasks.registry import tasks
from django_qstash.wire.delivery import Delivery, Reply

_NAMESPACE = uuid.UUID("6f5a4f0e-6f5e-5f0b-9d5c-3d1d0a5be2a7")


def receive(letter: Mapping[str, Any], delivery: Delivery) -> Reply:
    """Run an older payload as the task of that function.

    Such a payload has no id. QStash's message id, which nobody signed, stands in for it: it tells
    a redelivery from another call, and decides nothing else. Raises :class:`MessageError`.
    """
    old = messages.legacy(letter)
    if old.on_success:
        raise MessageError("A payload with links of django-qstash 0.x cannot be run; send it anew.")
    try:
        name = tasks.find(old.task).name
    except NotRegistered as error:
        return Reply.unknown(str(error))
    identity = delivery.message_id or uuid.uuid4().hex
    message = TaskMessage(
        task=name,
        id=str(uuid.uuid5(_NAMESPACE, identity)),
        run=derived_run(identity, "legacy"),
        args=old.args,
        kwargs=old.kwargs,
        retries=old.retries,
        # Not signed either: it shows the run in that schedule's history, and does nothing else.
        schedule_id=delivery.schedule_id[:190] or None,
    )
    return receive_task(message.as_dict(), delivery)
