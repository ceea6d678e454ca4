"""The statements of every ordinary delivery, written out: the ORM takes longer to compile them than
the database to run them. Tables and columns are the models'; no text of a user's is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
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

    ``computed`` is one more column, its SQL and parameters. Values are as the database takes them.
    """
    connection = connections[alias]
    column, sql, params = computed or ("", "", [])
    statement = _insert(alias, model, tuple(values), column, sql)
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, [*values.values(), *params])
        except IntegrityError as error:
            if error.args[:1] != (_MYSQL_DUPLICATE,):
                raise
            return False
        return bool(cursor.rowcount == 1)


def update_where(
    alias: str, model: type[Model], values: Mapping[str, Any], where: Mapping[str, Any]
) -> bool:
    """UPDATE the one row that ``where`` names, its lease given up; false if there is none."""
    statement = _update(alias, model, tuple(values), tuple(where))
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, [*values.values(), *where.values()])
        return bool(cursor.rowcount == 1)


def moment(alias: str, value: Any) -> Any:
    """An aware datetime in UTC as the database takes it."""
    connection = connections[alias]
    if connection.vendor == "sqlite" and connection.timezone_name == "UTC":
        # What Django's own way comes to, in a tenth of its time.
        return str(value.replace(tzinfo=None))
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
    names = ", ".join(map(quote, [*columns, column] if column else columns))
    places = ", ".join(["%s"] * len(columns) + ([computed] if column else []))
    # Not by an error where it can be had without: PostgreSQL would end the transaction around it.
    quietly = "" if connections[alias].vendor == "mysql" else " ON CONFLICT DO NOTHING"
    return f"INSERT INTO {table(alias, model)} ({names}) VALUES ({places}){quietly}"  # noqa: S608


@lru_cache(maxsize=64)
def _update(
    alias: str, model: type[Model], columns: tuple[str, ...], where: tuple[str, ...]
) -> str:
    quote = connections[alias].ops.quote_name
    sets = [f"{quote(column)} = %s" for column in columns]
    sets += [f"{quote(column)} = NULL" for column in ("lease_token", "lease_until")]
    named = " AND ".join(f"{quote(column)} = %s" for column in where)
    return f"UPDATE {table(alias, model)} SET {', '.join(sets)} WHERE {named}"  # noqa: S608


def table(alias: str, model: type[Model]) -> str:
    """A model's table, quoted."""
    return connections[alias].ops.quote_name(model._meta.db_table)  # noqa: SLF001 - documented
