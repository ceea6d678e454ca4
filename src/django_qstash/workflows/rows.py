"""The statements on runs. Every write says in its WHERE under what condition it holds."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connections, router
from django.db.models import BooleanField, DateTimeField, F, Value

from django_qstash import clock, serialization
from django_qstash.exceptions import LeaseLost
from django_qstash.sql.clock import clock_sql
from django_qstash.sql.fields import PlainJSONField, ValueField
from django_qstash.sql.lease import lease_ms
from django_qstash.sql.statements import changed, fetch, instant, moment, table
from django_qstash.workflows import letters
from django_qstash.workflows.held import Held
from django_qstash.workflows.models import OPEN, RunStatus, WorkflowRun
from django_qstash.workflows.usage import adding, sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_qstash.messages import WorkflowMessage
    from django_qstash.wire.envelope import Envelope

#: Seconds by which a letter may come before its time and still be taken.
EARLY = 1.0


def alias() -> str:
    """The database that the router gives runs."""
    return router.db_for_write(WorkflowRun)


def runs() -> Any:
    return WorkflowRun.objects.using(alias())


def stamp() -> int:
    """The time, in milliseconds since the epoch, that ``owed`` is set to."""
    return int(clock.time() * 1000)


class Hold(Held[WorkflowRun]):
    """A run that is claimed."""

    __slots__ = ()

    @property
    def run(self) -> WorkflowRun:
        return self.row

    def release(self, *envelopes: Envelope) -> None:
        """Give the run back as it was, so that the next delivery need not wait.

        ``envelopes`` are sent for it; whatever else it has sent is sent, and counted, again.
        """
        self.mine().update(
            lease_token=None,
            lease_until=None,
            attempts=F("attempts") - Value(1),
            **adding(self.meter.times(), sent(*envelopes)),
        )

    def reload(self) -> None:
        """Read the row again. Raises :class:`LeaseLost`."""
        row = self.mine().first()
        if row is None:
            raise LeaseLost
        self.row = row

    def count_progress(self, steps: int) -> None:
        """Deliveries that recorded something do not count against the run."""
        run = self.run
        if run.attempts > 1 and steps > run.progress:
            run.attempts = 1
        if run.progress != steps:
            self.mine().update(attempts=run.attempts, progress=steps)

    def suspend(
        self,
        *,
        waits: str = "",
        wake_at: datetime | None = None,
        branches: int = 0,
        attempt: int | None = None,
        envelopes: Sequence[Envelope] = (),
    ) -> bool:
        """Put the run down, inside the caller's transaction: what it waits for, and until when.

        False, and nothing written, if something has come since the row was read, or the lease is
        lost.
        """
        return bool(
            self.mine()
            .filter(inbox=self.run.inbox)
            .update(
                generation=F("generation") + 1,
                status=RunStatus.WAITING,
                waits=waits,
                wake_at=wake_at,
                branches=branches,
                attempt=attempt or self.run.attempt,
                attempts=0,
                progress=0,
                lease_token=None,
                lease_until=None,
                **adding(self.meter.used(), sent(*envelopes)),
            )
        )


def claim(message: WorkflowMessage) -> Hold | None:
    """Take the run that the letter continues; ``None`` if that cannot be now."""
    token = secrets.token_hex(16)
    name = alias()
    now = clock.now()
    sql, params = _claim(name, token, now)
    due = moment(name, now + timedelta(seconds=EARLY))
    params += [message.id, message.generation, *OPEN_ORDER, due]
    returning, select, names, converters = _reading(name)
    if returning:
        found = fetch(name, f"{sql} {returning}", params)
    elif changed(name, sql, params):
        # None: the lease ran out within these two statements.
        found = fetch(name, select, [message.id, token])
    else:
        found = []
    for row in found:
        values = list(row)
        for place, convert in converters:
            if values[place] is not None:
                values[place] = convert(values[place])
        # What .get() returns, in a fifth of its time.
        return Hold(WorkflowRun.from_db(name, names, values), token, name)
    return None


Converters = list[tuple[int, Callable[[Any], Any]]]


@lru_cache(maxsize=8)
def _reading(name: str) -> tuple[str, str, list[str], Converters]:
    """How a claimed run is read, its attributes, and what the ORM's converters would do.

    It is read by the UPDATE itself, or by a SELECT where the first is "": MySQL cannot, and SQLite
    keeps such an UPDATE open until its rows are fetched, which whoever watches statements does not
    expect.
    """
    fields = WorkflowRun._meta.concrete_fields  # noqa: SLF001 - documented
    connection = connections[name]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    source = table(name, WorkflowRun)
    select = f"SELECT {columns} FROM {source} WHERE run_id = %s AND lease_token = %s"  # noqa: S608
    converters: Converters = []
    for place, field in enumerate(fields):
        if isinstance(field, (PlainJSONField, ValueField)):
            converters.append((place, serialization.loads))
        elif isinstance(field, DateTimeField):
            converters.append((place, instant))
        elif isinstance(field, BooleanField):
            converters.append((place, bool))
    returning = f"RETURNING {columns}" if connection.vendor == "postgresql" else ""
    return returning, select, [field.attname for field in fields], converters


#: The open statuses, for a list in SQL.
OPEN_ORDER = sorted(OPEN)


def _claim(name: str, token: str, now: datetime) -> tuple[str, list[Any]]:
    """The UPDATE of a claim, and its parameters but for the WHERE.

    Written out, since every delivery needs it: the ORM takes longer to compile it than the
    database to run it.
    """
    connection = connections[name]
    until, until_params = clock_sql(connection, lease_ms())
    today, today_params = clock_sql(connection)
    sql = (
        f"UPDATE {table(name, WorkflowRun)} SET lease_token = %s, lease_until = {until},"  # noqa: S608
        " attempts = attempts + 1, status = %s, owed = NULL, waits = %s,"
        " started_at = COALESCE(started_at, %s)"
        f" WHERE (lease_token IS NULL OR lease_until < {today})"
        " AND run_id = %s AND generation = %s AND status IN (%s, %s, %s)"
        f" AND (wake_at <= %s OR (wake_at IS NULL AND status <> '{RunStatus.WAITING}'))"
    )
    params = [token, *until_params, RunStatus.RUNNING, "", moment(name, now), *today_params]
    return sql, params


def nudge(run_ids: Iterable[str], waits: str, *, size: int = 0) -> list[WorkflowRun]:
    """Tell runs, inside the caller's transaction, that what they may wait for has come.

    ``waits`` is what they wait for if they sleep; those are woken, and returned: their letters are
    owed from now on. A run at work sees by its inbox that it must look. ``size``: bytes of the
    message that has brought the news, which is the run's then.
    """
    woken = []
    count = adding({"messages": 1, "bytes_sent": size}) if size else {}
    for run_id in run_ids:
        rows = runs().filter(run_id=run_id)
        # First, since it locks the row: a run that is about to sleep does so before or after both.
        if not rows.filter(status__in=OPEN).update(inbox=F("inbox") + 1, **count):
            continue
        run = rows.get()
        if run.status == RunStatus.WAITING and run.waits == waits:
            rouse(run)
            woken.append(run)
    return woken


def rouse(run: WorkflowRun) -> None:
    """Have a run that sleeps go on at once, by a letter that is owed from now on.

    Its row is written already by the caller's transaction, and was read after that.
    """
    run.generation += 1
    run.waits, run.wake_at, run.branches, run.owed = "", clock.now(), 0, stamp()
    size = letters.size(letters.of_run(run), run.options)
    runs().filter(pk=run.pk).update(
        generation=run.generation,
        waits=run.waits,
        wake_at=run.wake_at,
        branches=run.branches,
        owed=run.owed,
        **adding({"messages": 1, "bytes_sent": size}),
    )
