"""Which database errors are nobody's failure: locks, deadlocks, lost connections."""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError

#: SQLSTATE classes and codes: serialization failure, deadlock, lock not available, connection
#: exceptions, server shutting down or starting up, too many connections.
_POSTGRES = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300")
#: Lock wait time-out, deadlock, a record changed since it was read, server gone or lost, too many
#: connections, shutdown in progress.
_MYSQL = frozenset({1020, 1040, 1053, 1205, 1213, 2002, 2003, 2006, 2013, 2055})
_SQLITE = ("database is locked", "database table is locked", "database schema is locked")


def is_transient(error: BaseException) -> bool:
    """True if the same work may well succeed in a moment, whatever it is."""
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return False
    cause = error.__cause__ or error
    sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if sqlstate:
        return sqlstate in _POSTGRES or sqlstate.startswith("08")
    if error.args and isinstance(error.args[0], int):
        return error.args[0] in _MYSQL
    text = str(error).lower()
    return any(phrase in text for phrase in _SQLITE) or _is_lost(text)


def _is_lost(text: str) -> bool:
    # psycopg reports a connection that broke under it without an SQLSTATE.
    return any(
        phrase in text
        for phrase in (
            "server closed the connection",
            "connection already closed",
            "the connection is closed",
            "the connection is lost",
            "connection refused",
            "connection timeout",
            "terminating connection",
            "consuming input failed",
        )
    )
