"""A process that dies in the middle of a delivery, as far as a test can have that.

An interrupt unwinds the delivery at a chosen moment. What was committed stays, and what was not is
rolled back, as when a process is killed; what a ``finally`` block still asks of the database or of
QStash is not done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

from django.db import connections

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
#: What begins and ends transactions: a database does it for a process that has died, too.
CONTROL = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "START", "PRAGMA", "SET ")


class Crash(BaseException):
    """The process has died, for this delivery. No ``except Exception`` of a task's holds it up."""


class Fuse:
    """Counts the steps of a delivery, and ends it at one of them.

    Steps are: after each INSERT, UPDATE or DELETE; before and after each publish; and the moment
    before the answer. ``told`` is called at each of them, with words for it.
    """

    def __init__(self, at: int | None, told: Callable[[str], None] = lambda _: None) -> None:
        if at is not None and at < 1:
            raise ValueError("The first step of a delivery is number 1.")
        self.at = at
        self.told = told
        #: Steps so far.
        self.steps = 0
        #: The process has died.
        self.burnt = False
        #: Another delivery is made in the middle of this one.
        self.is_paused = False

    def step(self, where: str) -> None:
        self.breathe()
        self.steps += 1
        if self.steps == self.at:
            self.burn(f"at step {self.at}")
        self.told(where)

    def breathe(self) -> None:
        """Raises :class:`Crash` in a process that has died: a ``finally`` block of it goes on."""
        if self.burnt:
            raise Crash("before")

    def burn(self, where: str) -> NoReturn:
        self.burnt = True
        raise Crash(where)

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
        if self.is_paused or sql.startswith(CONTROL):
            return execute(sql, params, many, context)
        self.breathe()
        try:
            return execute(sql, params, many, context)
        finally:
            # A row that is there already is an error on MySQL alone; it is a step on each.
            if _WRITES.match(sql):
                self.step(f"after {sql[:60]}")
