"""Where the testing tools stand: beside every step that is done. In production, nobody does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.history import Entry, Key
    from django_qstash.workflows.models import WorkflowRun
    from django_qstash.workflows.turn import Turn


class Stage(Protocol):
    """Who looks on. Each may raise a ``BaseException``, as if the process died just then."""

    def step(
        self,
        turn: Turn,
        ask: Ask,
        key: Key,
        entry: Entry | None,
        perform: Callable[[Turn, Ask, Key, Entry | None], Entry],
    ) -> Entry:
        """Have ``perform`` do a step of the body, or do it in another way."""
        ...

    def called(self, ask: Ask) -> None:
        """The function of a step has returned; nothing is recorded of it yet."""
        ...

    def branch(self, run: WorkflowRun, key: Key, ask: Ask) -> None:
        """A parallel step is about to be called; its ``ask`` may be changed."""
        ...

    def branched(self, run: WorkflowRun, key: Key, entry: Entry) -> None:
        """What became of an attempt at a parallel step is committed."""
        ...

    def ended(self, turn: Turn) -> None:
        """The body has returned or raised; nothing is recorded of it yet."""
        ...


#: One for the process: deliveries in a test are made in its own thread.
stage: Stage | None = None


@contextmanager
def on(new: Stage) -> Iterator[None]:
    """Let ``new`` look on in this block; blocks nest, and the innermost looks on alone."""
    global stage
    previous, stage = stage, new
    try:
        yield
    finally:
        stage = previous
