"""Queues: make, change, list, pause, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.api.names import checked
from django_qstash.devserver.refusal import bad_request

if TYPE_CHECKING:
    from django_qstash.devserver.state import State


def upsert(state: State, call: Call) -> Reply:
    """Make or change one; what the request leaves out is as for a new queue (QStash)."""
    value = call.json_object()
    name = checked("queue", value.get("queueName"))
    parallelism = value.get("parallelism")
    if parallelism is None:
        parallelism = 1
    if isinstance(parallelism, bool) or not isinstance(parallelism, int) or parallelism < 1:
        raise bad_request("parallelism must be a whole number of at least 1")
    paused = value.get("paused")
    if paused is not None and not isinstance(paused, bool):
        raise bad_request("paused must be true or false")
    state.upsert_queue(name, parallelism=parallelism, paused=bool(paused))
    return Reply.done()


def listing(state: State, _call: Call) -> Reply:
    return Reply.of([describe.queue(queue) for queue in state.machine.gates.queues.values()])


def get(state: State, call: Call) -> Reply:
    return Reply.of(describe.queue(state.find_queue(checked("queue", call.names[0]))))


def delete(state: State, call: Call) -> Reply:
    state.delete_queue(checked("queue", call.names[0]))
    return Reply.done()


def pause(state: State, call: Call) -> Reply:
    return _pause(state, call, paused=True)


def resume(state: State, call: Call) -> Reply:
    return _pause(state, call, paused=False)


def _pause(state: State, call: Call, *, paused: bool) -> Reply:
    queue = state.find_queue(checked("queue", call.names[0]))
    state.pause_queue(queue, paused=paused)
    return Reply.done()
