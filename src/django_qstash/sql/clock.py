"""The database's clock, so that leases taken by several hosts are compared by one."""

from __future__ import annotations

from typing import Any

from django.db.models import BigIntegerField, Func

from django_qstash import clock

_EPOCH = {
    "postgresql": "(EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::bigint",
    # UTC: the session's zone would have an hour twice a year that is there twice, or not at all.
    "mysql": "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) DIV 1000)",
}


def clock_sql(connection: Any, plus_ms: int = 0) -> tuple[str, list[Any]]:
    """SQL and parameters for the time in milliseconds since the epoch, ``plus_ms`` later.

    SQLite lives on this host, whose clock is then as good; so is a virtual clock, which the
    database does not know.
    """
    sql = None if clock.is_virtual() else _EPOCH.get(connection.vendor)
    if sql is None:
        return "%s", [int(clock.time() * 1000) + plus_ms]
    return (f"{sql} + %s", [plus_ms]) if plus_ms else (sql, [])


class DatabaseClock(Func):
    """The same for the ORM."""

    output_field = BigIntegerField()

    def __init__(self) -> None:
        super().__init__()

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:  # type: ignore[override]  # noqa: ARG002
        return clock_sql(connection)
