"""Schedules: make, change, list, pause, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.refusal import bad_request
from django_qstash.devserver.request import read, split_destination
from django_qstash.wire.options import header_of

if TYPE_CHECKING:
    from django_qstash.devserver.state import State


def create(state: State, call: Call) -> Reply:
    """Make a schedule, or replace the one whose id the request names."""
    destination, from_query = split_destination(call.tail)
    spec, options = read(
        [*from_query, *call.headers], call.body, limits=state.limits, caller_ip=call.caller_ip
    )
    if "cron" not in options:
        raise bad_request(f"a schedule needs the header {header_of('cron')}")
    if "not_before" in options:
        raise bad_request(f"a schedule cannot have the header {header_of('not_before')}")
    schedule = state.schedules.upsert(
        destination, spec, options["cron"], options.get("schedule_id")
    )
    return Reply.of({"scheduleId": schedule.id})


def listing(state: State, _call: Call) -> Reply:
    return Reply.of([describe.schedule(schedule) for schedule in state.schedules])


def get(state: State, call: Call) -> Reply:
    return Reply.of(describe.schedule(state.schedules.get(call.names[0])))


def delete(state: State, call: Call) -> Reply:
    state.schedules.delete(call.names[0])
    return Reply.done()


def pause(state: State, call: Call) -> Reply:
    state.schedules.pause(state.schedules.get(call.names[0]), paused=True)
    return Reply.done()


def resume(state: State, call: Call) -> Reply:
    state.schedules.pause(state.schedules.get(call.names[0]), paused=False)
    return Reply.done()
