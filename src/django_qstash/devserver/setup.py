"""A state as the command line and the in-process server want it, with or without a journal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django_qstash.clock import Clock, SystemClock
from django_qstash.devserver.limits import DEFAULT_PARALLELISM, DEFAULT_PLAN, PLANS
from django_qstash.devserver.state import State
from django_qstash.devserver.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_qstash.devserver.faults import Faults


@dataclass(frozen=True, slots=True)
class Built:
    """A state, how to write down what changed, and how to let go of its file."""

    state: State
    commit: Callable[[], None]
    close: Callable[[], None]


def build(
    *,
    clock: Clock | None = None,
    db: str | None = None,
    plan: str = DEFAULT_PLAN,
    parallelism: int = DEFAULT_PARALLELISM,
    retry_scale: float = 1.0,
    faults: Faults | None = None,
) -> Built:
    """Raises ``OSError`` when the journal's file cannot be used."""
    limits = replace(PLANS[plan], parallelism=parallelism)
    store = Store(db) if db is not None else None
    state = State(
        clock=clock or SystemClock(),
        limits=limits,
        retry_scale=retry_scale,
        faults=faults,
        journal=store,
    )
    if store is None:
        return Built(state, lambda: None, lambda: None)
    try:
        store.restore(state)
    except BaseException:
        store.close()
        raise
    return Built(state, store.commit, store.close)
