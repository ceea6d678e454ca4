"""What a run uses: messages, bytes, time. A delivery measures it, and writes it with its last word.

No statement is added for it. What a delivery used that died, or lost its lease, is not known.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import F

from django_qstash.conf import settings
from django_qstash.sql.statements import fetch, table
from django_qstash.workflows.models import StepExecution, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django_qstash.messages import WorkflowMessage
    from django_qstash.wire.envelope import Envelope

#: The columns of a run that hold what it has used.
COLUMNS = ("messages", "bytes_sent", "compute_seconds", "database_seconds")
#: Those that hold times, of runs and of parallel steps.
TIMES = ("compute_seconds", "database_seconds")


@dataclass(slots=True, eq=False)
class Meter:
    """What one delivery has used since it claimed its row."""

    began: float = field(default_factory=time.perf_counter)
    #: Seconds in statements, while :meth:`running`.
    in_database: float = 0.0
    #: Sent, and not written yet.
    messages: int = 0
    bytes_sent: int = 0

    def count(self, *envelopes: Envelope) -> None:
        """Note messages that are written with the delivery's last word."""
        self.messages += len(envelopes)
        self.bytes_sent += sum(len(envelope.body) for envelope in envelopes)

    def count_copies(self, message: WorkflowMessage) -> None:
        """Note those before this one of a letter that was published again and again."""
        if copies := message.p + message.life:
            self.messages += copies
            self.bytes_sent += copies * len(message.encode())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take the time of this thread's statements in this block, if the settings ask for it."""
        with ExitStack() as stack:
            if settings.DJANGO_QSTASH_WORKFLOW_DATABASE_TIME:
                for connection in connections.all(initialized_only=True):
                    stack.enter_context(connection.execute_wrapper(self._statement))
            yield

    def _statement(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.in_database += time.perf_counter() - began

    def times(self) -> dict[str, float]:
        """What is to be added to the columns of times: of a run, or of a parallel step."""
        times = {"compute_seconds": time.perf_counter() - self.began}
        if self.in_database:
            times["database_seconds"] = self.in_database
        return times

    def used(self) -> dict[str, float]:
        """What is to be added to the columns of a run that has got further."""
        if not self.messages:
            return self.times()
        return {**self.times(), "messages": self.messages, "bytes_sent": self.bytes_sent}


def sent(*envelopes: Envelope) -> dict[str, float]:
    """What these messages add to the columns of their run."""
    return {
        "messages": len(envelopes),
        "bytes_sent": sum(len(envelope.body) for envelope in envelopes),
    }


def take_over(alias: str, run_pk: int) -> None:
    """Add what a run's parallel steps have used to the run, in the transaction that ends it."""
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in TIMES)
    sql = f"SELECT {sums} FROM {table(alias, StepExecution)} WHERE workflow_run_id = %s"  # noqa: S608
    # Read by itself: MySQL locks what an UPDATE reads, and branches lock their rows before the run.
    (found,) = fetch(alias, sql, [run_pk])
    if any(found):
        used = {name: float(value) for name, value in zip(TIMES, found, strict=True)}
        WorkflowRun.objects.using(alias).filter(pk=run_pk).update(**adding(used))


def adding(*used: Mapping[str, float]) -> dict[str, Any]:
    """For the ORM's ``update``: columns, and what they become by all of this."""
    total: dict[str, float] = {}
    for each in used:
        for name, value in each.items():
            total[name] = total.get(name, 0) + value
    return {name: F(name) + value for name, value in total.items()}
