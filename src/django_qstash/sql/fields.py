"""Columns that three databases treat alike: ids that compare exactly, values as JSON text."""

from __future__ import annotations

import json
import re
from typing import Any

from django.db import models

from django_qstash import serialization
from django_qstash.exceptions import EncodeError


class IdField(models.CharField):  # type: ignore[type-arg]
    """A text that is equal only to itself: on MySQL and MariaDB the default collation would find
    ``"A"`` when asked for ``"a"``."""

    def db_parameters(self, connection: Any) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            return {**parameters, "collation": "utf8mb4_bin"}
        return parameters


class ValueField(models.TextField):  # type: ignore[type-arg]
    """Any value that :mod:`django_qstash.serialization` can carry, as its JSON text.

    Text rather than the database's JSON type: PostgreSQL refuses NUL in jsonb, and MariaDB, SQLite
    and PostgreSQL disagree about numbers that JSON has no word for.
    """

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:  # noqa: ARG002
        if value is None:
            return None
        try:
            return serialization.loads(value)
        except ValueError:
            return value

    def get_prep_value(self, value: Any) -> str | None:
        if value is None:
            return None
        return serialization.dumps(value, what=f"The value of {self.name}")

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: ARG002
        return value if prepared else self.get_prep_value(value)

    def value_to_string(self, obj: Any) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else serialization.dumps(value)

    def to_python(self, value: Any) -> Any:
        return value


class PlainJSONField(models.JSONField):
    """A value in the database's own JSON, so that it can be searched: ``filter(data__order=7)``.

    Written and read by :mod:`django_qstash.serialization`, so it carries what letters carry. What
    PostgreSQL's JSON cannot store, a NUL or half a surrogate pair, is refused on every database.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["encoder"], kwargs["decoder"] = _Encoder, _Decoder
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("encoder", None)
        kwargs.pop("decoder", None)
        return name, path, args, kwargs


class _Encoder(json.JSONEncoder):
    def encode(self, o: Any) -> str:
        return json_text(o)


class _Decoder(json.JSONDecoder):
    def decode(self, s: str, *_: Any) -> Any:
        return serialization.loads(s)


def json_text(value: Any, *, what: str = "The value") -> str:
    """:func:`serialization.dumps`, for a column of the database's JSON.

    Raises :class:`EncodeError` also for what PostgreSQL would refuse there.
    """
    text = serialization.dumps(value, what=what)
    if _REFUSED.search(text):
        raise EncodeError(
            f"{what} holds a NUL character or half a surrogate pair, which PostgreSQL's JSON "
            "cannot store; encode it, for example with base64."
        )
    return text


#: An escaped NUL, or an escaped surrogate that has no partner; an escaped backslash is passed over.
_REFUSED = re.compile(
    r"(?<!\\)(?:\\\\)*\\u(?:0000"
    r"|d[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})"
    r"|(?<!\\ud[89ab][0-9a-f]{2}\\u)d[c-f][0-9a-f]{2})"
)
