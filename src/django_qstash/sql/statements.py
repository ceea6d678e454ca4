"""The statements of every ordinary delivery, written out: the ORM takes longer to compile them than
the database to run them. Tables and columns are the models'; no text of a user's is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from threading import get_ident
from typing import Any

from django.db import IntegrityError, connections
from django.db.models import Model, TextField, Value

#: MySQL's error number for a row that is there already.
_MYSQL_DUPLICATE = 1062


def insert_once(
    alias: str,
    model: type[Model],
    values: Mapping[str, Any],
    computed: tuple[str, str, list[Any]] | None = None,
) -> bool:
    """INSERT a row; false if one with its unique columns is there already.

    Columns that are not among ``values`` have their default. ``computed`` is one more column, its
    SQL and parameters. Values are as the database takes them.
    """
    with connections[alias].cursor() as cursor:
        return insert_by(cursor, alias, model, values, computed)


def insert_by(
    cursor: Any,
    alias: str,
    model: type[Model],
    values: Mapping[str, Any],
    computed: tuple[str, str, list[Any]] | None = None,
) -> bool:
    """:func:`insert_once` by a cursor that is there."""
    column, sql, params = computed or ("", "", ())
    statement = _insert(alias, model, tuple(values), column, sql)
    try:
        cursor.execute(statement, [*values.values(), *params])
    except IntegrityError as error:
        if error.args[:1] != (_MYSQL_DUPLICATE,):
            raise
        return False
    return bool(cursor.rowcount == 1)


class KeptCursor:
    """One cursor for many short statements: to open one takes as long as to run them."""

    __slots__ = ("_cursor", "_opened", "_thread", "alias")

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._cursor: Any = None
        #: The driver's connection, and the thread that it belongs to.
        self._opened: Any = None
        self._thread = 0

    def __call__(self) -> Any:
        """A cursor of the connection that is open in this thread now."""
        thread = get_ident()
        cursor = self._cursor
        if cursor is None or thread != self._thread or cursor.db.connection is not self._opened:
            connection = connections[self.alias]
            self._cursor = cursor = connection.cursor()
            self._opened, self._thread = connection.connection, thread
        return cursor


def update_where(
    alias: str,
    model: type[Model],
    values: Mapping[str, Any],
    where: Mapping[str, Any],
    added: Mapping[str, float] | None = None,
) -> bool:
    """UPDATE the one row that ``where`` names, its lease given up; false if there is none.

    ``added`` are columns, and what is added to each.
    """
    added = added or {}
    statement = _update(alias, model, tuple(values), tuple(where), tuple(added))
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, [*values.values(), *added.values(), *where.values()])
        return bool(cursor.rowcount == 1)


def moment(alias: str, value: Any) -> Any:
    """An aware datetime in UTC as the database takes it."""
    return adapted(connections[alias], value)


def adapted(connection: Any, value: Any) -> Any:
    """:func:`moment`, by a connection that is there."""
    if connection.vendor == "sqlite" and connection.timezone_name == "UTC":
        # What Django's own way comes to, in a tenth of its time: without the "+00:00".
        return value.isoformat(" ")[:-6]
    return connection.ops.adapt_datetimefield_value(value)


def instant(value: Any) -> datetime | None:
    """A datetime as a cursor returns it, aware and in UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    found: datetime = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return found


def fetch(alias: str, sql: str, params: Sequence[Any]) -> list[Any]:
    """The rows of a SELECT."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def changed(alias: str, sql: str, params: Sequence[Any]) -> int:
    """How many rows an UPDATE has matched."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def raw(text: str | None) -> Any:
    """JSON text for a column of the ORM's that would encode a value."""
    return None if text is None else Value(text, output_field=TextField())


def storable(text: str | None) -> str | None:
    """Text that every database stores: PostgreSQL takes no NUL, and none a lone surrogate."""
    if text is None:
        return None
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=64)
def _insert(
    alias: str, model: type[Model], columns: tuple[str, ...], column: str, computed: str
) -> str:
    quote = connections[alias].ops.quote_name
    places = dict.fromkeys(columns, "%s") | ({column: computed} if column else {})
    # In the text rather than as parameters, which cost more than all else of a short row.
    places |= {name: text for name, text in _defaults(model) if name not in places}
    names = ", ".join(map(quote, places))
    # Not by an error where it can be had without: PostgreSQL would end the transaction around it.
    quietly = "" if connections[alias].vendor == "mysql" else " ON CONFLICT DO NOTHING"
    row = ", ".join(places.values())
    return f"INSERT INTO {table(alias, model)} ({names}) VALUES ({row}){quietly}"  # noqa: S608


def _defaults(model: type[Model]) -> Iterator[tuple[str, str]]:
    """The columns that have a plain default and would not be NULL, and it in SQL."""
    for field in model._meta.concrete_fields:  # noqa: SLF001 - documented
        default = None if field.null else field.get_default()
        if isinstance(default, bool):
            yield str(field.column), str(default).upper()
        elif isinstance(default, (int, float)):
            yield str(field.column), str(default)
        elif default == "":
            yield str(field.column), "''"


@lru_cache(maxsize=64)
def _update(
    alias: str,
    model: type[Model],
    columns: tuple[str, ...],
    where: tuple[str, ...],
    added: tuple[str, ...],
) -> str:
    quote = connections[alias].ops.quote_name
    sets = [f"{quote(column)} = %s" for column in columns]
    sets += [f"{quote(column)} = {quote(column)} + %s" for column in added]
    sets += [f"{quote(column)} = NULL" for column in ("lease_token", "lease_until")]
    named = " AND ".join(f"{quote(column)} = %s" for column in where)
    return f"UPDATE {table(alias, model)} SET {', '.join(sets)} WHERE {named}"  # noqa: S608


def table(alias: str, model: type[Model]) -> str:
    """A model's table, quoted."""
    return connections[alias].ops.quote_name(model._meta.db_table)  # noqa: SLF001 - documented
