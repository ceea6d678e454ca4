"""Who is at work on a letter: claims and leases as single conditional writes. Section A, 1 to 4.

Nothing here reads first and writes after; every write says in its WHERE under what condition it
holds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections, router, transaction
from django.db.models import Case, F, Q, Value, When

from django_qstash import clock, states
from django_qstash.exceptions import LeaseLost
from django_qstash.results.models import PastRun, Phase, TaskResult
from django_qstash.serialization import dumps
from django_qstash.sql.clock import DatabaseClock, clock_sql
from django_qstash.sql.lease import free, lease_ms
from django_qstash.sql.statements import insert_once, moment
from django_qstash.tasks.request import hostname
from django_qstash.tasks.store import Busy, Claimed, Recorded, Stale, Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from django_qstash.messages import TaskMessage

#: The run of a row that was made by revoking a task that nobody had seen yet.
REVOKED_RUN = "revoked"


class Claims:
    """Claims on the rows of the database that the router gives :class:`TaskResult`."""

    @property
    def alias(self) -> str:
        return router.db_for_write(TaskResult)

    def claim(self, message: TaskMessage, *, message_id: str) -> Verdict:
        """Take the letter, or say why not. One statement when the task id is new."""
        token = secrets.token_hex(16)
        if self._insert(message, token, message_id):
            return Claimed(token, 1)
        if self._take(message, token, message_id):
            row = self.mine(message, token).values("attempts", "revoked").first()
            # None: the lease ran out within these two statements.
            return Busy(0) if row is None else Claimed(token, row["attempts"], row["revoked"])
        verdict = self.look(message)
        if verdict is not None:
            return verdict
        return self._swap(message, token, message_id)

    def look(self, message: TaskMessage) -> Verdict | None:
        """A3: how the letter stands; in a new transaction, so that the winner's row is seen."""
        row = (
            TaskResult.rows.using(self.alias)
            .filter(task_id=message.id)
            .annotate(left=F("lease_until") - DatabaseClock())
            .values(
                "run", "retries", "status", "phase", "follow", "message_id", "lease_token", "left"
            )
            .first()
        )
        if row is None:
            return Busy(0)
        if row["run"] == message.run:
            return _verdict(row, message) or Busy(_seconds_left(row))
        if row["run"] == REVOKED_RUN:
            return None
        past = PastRun.objects.using(self.alias).filter(run=message.run).values().first()
        if past is not None and (verdict := _verdict(past, message)) is not None:
            return verdict
        left = _seconds_left(row)
        return Busy(left) if left > 0 else None

    def renew(self, message: TaskMessage, token: str) -> bool:
        until = DatabaseClock() + lease_ms()
        return bool(self.mine(message, token).update(lease_until=until))

    def release(self, message: TaskMessage, token: str) -> None:
        # Attempts count the processes that died; this one has come to an end of its own.
        self.mine(message, token).update(
            lease_token=None, lease_until=None, attempts=F("attempts") - 1
        )

    @contextmanager
    def transaction(self, message: TaskMessage, token: str) -> Iterator[None]:
        with transaction.atomic(using=self.alias):
            # Written first: SQLite then has its write lock, and waits for it here rather than
            # failing in the middle; elsewhere a takeover waits until this has ended.
            if not self.renew(message, token):
                raise LeaseLost
            yield

    def can_renew_within(self, *, atomic: bool) -> bool:
        # Such a body's transaction has written the row, or on SQLite holds the only write lock:
        # a renewal would wait for its end, and keep all other leases of the process waiting. It
        # needs none either: whoever would take the letter over waits for that transaction, too.
        return not atomic

    # --- the ways to come by a row --------------------------------------------------------------

    def _insert(self, message: TaskMessage, token: str, message_id: str) -> bool:
        """A1: the row of a task id that was never seen. False if there is one."""
        until = clock_sql(connections[self.alias], lease_ms())
        values = self.fresh(message, token, message_id)
        return insert_once(self.alias, TaskResult, values, ("lease_until", *until))

    def fresh(
        self,
        message: TaskMessage,
        token: str | None,
        message_id: str,
        began: datetime | None = None,
    ) -> dict[str, Any]:
        """The columns, but for the lease's end, of the row of a task id that was never seen.

        It ``began`` now if that is not said.
        """
        now = moment(self.alias, clock.now())
        return {
            "task_id": message.id,
            "retries": message.retries,
            "attempts": 1,
            "date_created": now,
            "date_started": now if began is None else moment(self.alias, began),
            **_opened(message, token, message_id),
            "args": None if message.ignore_result else dumps(shown(message)[0]),
            "kwargs": None if message.ignore_result else dumps(shown(message)[1]),
        }

    def _take(self, message: TaskMessage, token: str, message_id: str) -> bool:
        """A2: the same letter, its lease free; or the next one of a run that wants a retry."""
        same = Q(retries=message.retries, phase=Phase.OPEN)
        next_one = Q(retries__lt=message.retries, phase=Phase.RETRY)
        rows = free(TaskResult.rows.using(self.alias)).filter(
            same | next_one, task_id=message.id, run=message.run
        )
        # SQL evaluates the right-hand sides on the row as it was, except MySQL, which goes from
        # left to right: attempts comes before retries.
        again = Case(When(retries=message.retries, then=F("attempts") + 1), default=Value(1))
        return bool(
            rows.update(
                attempts=again,
                retries=message.retries,
                status=states.STARTED,
                phase=Phase.OPEN,
                lease_token=token,
                lease_until=DatabaseClock() + lease_ms(),
                date_started=clock.now(),
                worker=hostname(),
                message_id=message_id[:255],
            )
        )

    def _swap(self, message: TaskMessage, token: str, message_id: str) -> Verdict:
        """A3: the row goes to this run of the task id; the run that had it becomes a PastRun."""
        rows = TaskResult.rows.using(self.alias)
        old = rows.filter(task_id=message.id).values().first()
        if old is None or old["run"] == message.run:
            return Busy(0)
        past = PastRun.objects.using(self.alias).filter(run=message.run).first()
        began = past.attempts if past is not None and past.retries == message.retries else 0
        now = clock.now()
        changes = {
            "retries": message.retries,
            "lease_until": DatabaseClock() + lease_ms(),
            "attempts": began + 1,
            "date_created": now,
            "date_started": now,
            "args": None if message.ignore_result else shown(message)[0],
            "kwargs": None if message.ignore_result else shown(message)[1],
            **dict.fromkeys(("follow", "result", "traceback", "date_done", "meta")),
            **_opened(message, token, message_id),
            # Kept: if this delivery dies, the next one has to know it as well.
            "revoked": old["run"] == REVOKED_RUN,
        }
        with transaction.atomic(using=self.alias):
            if not free(_unchanged(rows, old)).update(**changes):
                return Busy(0)
            PastRun.objects.using(self.alias).filter(run=message.run).delete()
            if old["run"] == REVOKED_RUN:
                return Claimed(token, 1, revoked=True)
            push_out(self.alias, old)
        return Claimed(token, began + 1)

    def mine(self, message: TaskMessage, token: str) -> Any:
        """The row while the lease is ours."""
        return TaskResult.rows.using(self.alias).filter(
            task_id=message.id, run=message.run, retries=message.retries, lease_token=token
        )


def shown(message: TaskMessage) -> tuple[Any, Any]:
    """The arguments as people may read them."""
    args = message.args if message.argsrepr is None else message.argsrepr
    return args, message.kwargs if message.kwargsrepr is None else message.kwargsrepr


def push_out(alias: str, old: Any) -> None:
    """Remember the run that had a row: enough to answer its late duplicates."""
    PastRun.objects.using(alias).create(
        **{
            name: old[name]
            for name in (
                "run",
                "task_id",
                "retries",
                "status",
                "phase",
                "attempts",
                "follow",
                "message_id",
                "date_created",
            )
        }
    )


def _unchanged(rows: Any, old: Any) -> Any:
    names = ("task_id", "run", "retries", "phase", "attempts")
    return rows.filter(**{name: old[name] for name in names})


def _opened(message: TaskMessage, token: str | None, message_id: str) -> dict[str, Any]:
    """The columns of a row that a letter has just been claimed on."""
    return {
        "run": message.run,
        "status": states.STARTED,
        "phase": Phase.OPEN,
        "lease_token": token,
        "cleared": False,
        "revoked": False,
        "task_name": message.task[:255],
        "root_id": message.root_id or "",
        "parent_id": message.parent_id or "",
        "group_id": message.group or "",
        "queue": message.queue or "",
        "schedule_name": (message.schedule or "")[:255],
        "schedule_id": message.schedule_id,
        "worker": hostname(),
        "message_id": message_id[:255],
    }


def _verdict(row: Any, message: TaskMessage) -> Verdict | None:
    """What a row of this very run says of the letter; ``None``: it is open, someone has it."""
    if row["retries"] > message.retries:
        return Stale()
    if row["retries"] == message.retries and row["phase"] != Phase.OPEN:
        return Recorded(row["status"], row["follow"] or (), row["message_id"])
    if row["retries"] < message.retries and row["phase"] == Phase.DONE:
        return Stale()
    return None


def _seconds_left(row: Any) -> float:
    if row["lease_token"] is None or row["left"] is None:
        return 0
    return max(0.0, float(row["left"]) / 1000)
