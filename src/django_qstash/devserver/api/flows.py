"""Flow-control keys, and how many calls may be open at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.api.names import checked
from django_qstash.devserver.refusal import bad_request, not_found
from django_qstash.wire.options import MAX_PERIOD

if TYPE_CHECKING:
    from django_qstash.devserver.flow import FlowKey
    from django_qstash.devserver.state import State


def listing(state: State, call: Call) -> Reply:
    search = call.query.one("search") or ""
    now = state.clock.time()
    return Reply.of(
        [
            describe.flow_key(key, now)
            for key in state.machine.gates.flows.values()
            if search in key.name
        ]
    )


def get(state: State, call: Call) -> Reply:
    key = state.machine.gates.flows.get(call.names[0])
    if key is None:
        raise not_found("flow control key", call.names[0])
    return Reply.of(describe.flow_key(key, state.clock.time()))


def pause(state: State, call: Call) -> Reply:
    key = _key(state, call)
    key.paused = True
    return _changed(state, key)


def resume(state: State, call: Call) -> Reply:
    key = _key(state, call)
    key.paused = False
    return _changed(state, key)


def pin(state: State, call: Call) -> Reply:
    """Fix limits, which messages then cannot change; the rate's window starts anew."""
    parallelism = call.query.integer("parallelism", least=1)
    rate = call.query.integer("rate", least=1)
    period = call.query.integer("period", least=1, most=MAX_PERIOD)
    if parallelism is None and rate is None and period is None:
        raise bad_request("pin needs parallelism, rate or period")
    key = _key(state, call)
    key.pin(parallelism=parallelism, rate=rate, period=period)
    return _changed(state, key)


def unpin(state: State, call: Call) -> Reply:
    """Let messages change the limits again; until one does, they stay."""
    parallelism, rate = call.query.flag("parallelism"), call.query.flag("rate")
    key = _key(state, call)
    key.unpin(parallelism=parallelism, rate=rate)
    return _changed(state, key)


def reset_rate(state: State, call: Call) -> Reply:
    """End the current period: its count becomes 0."""
    key = _key(state, call)
    key.reset_rate(state.clock.time())
    return _changed(state, key)


def reset(state: State, call: Call) -> Reply:
    """Forget limits, pins, pause and count; messages that wait go on."""
    key = _key(state, call)
    key.paused = key.pinned_parallelism = key.pinned_rate = False
    key.parallelism = key.rate = None
    key.period = 1
    key.reset_rate(state.clock.time())
    return _changed(state, key)


def global_parallelism(state: State, _call: Call) -> Reply:
    return Reply.of(
        {
            "parallelismMax": state.machine.parallelism,
            "parallelismCount": state.machine.calls,
        }
    )


def _key(state: State, call: Call) -> FlowKey:
    return state.machine.gates.flow(checked("flow control key", call.names[0]))


def _changed(state: State, key: FlowKey) -> Reply:
    state.journal.keep("flow", key.name, key)
    state.machine.gates.pull_flow(key)
    return Reply.done()
