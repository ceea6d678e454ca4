"""Signing keys: read and rotate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash.devserver.api.call import Call, Reply

if TYPE_CHECKING:
    from django_qstash.devserver.state import State


def get(state: State, _call: Call) -> Reply:
    return Reply.of({"current": state.keys.current, "next": state.keys.next})


def rotate(state: State, call: Call) -> Reply:
    state.rotate_keys()
    return get(state, call)
