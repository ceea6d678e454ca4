"""A process that dies in the middle of a delivery, as far as a test can have that.

An interrupt unwinds the delivery at a chosen step. What was committed stays, and what was not is
rolled back, as when a process is killed; but unlike there, ``finally`` blocks are run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


class Crash(BaseException):
    """The process has died, for this delivery. No ``except Exception`` of a task's holds it up."""


class Fuse:
    """Counts the steps of a delivery, and ends it at one of them.

    Steps are: after each INSERT, UPDATE or DELETE; before and after each publish; and the moment
    before the answer.
    """

    def __init__(self, at: int | None) -> None:
        if at is not None and at < 1:
            raise ValueError("The first step of a delivery is number 1.")
        self.at = at
        #: Steps so far.
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Crash(f"at step {self.at}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what this thread writes to any database."""
        with ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(self._executed))
            yield

    def _executed(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        try:
            return execute(sql, params, many, context)
        finally:
            # A row that is there already is an error on MySQL alone; it is a step on each.
            if _WRITES.match(sql):
                self.step()
