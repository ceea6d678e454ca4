"""Indexes that hold only the rows that they are for, where the database can have such."""

from __future__ import annotations

from typing import Any

from django.db import models


class PartialIndex(models.Index):
    """An index of the rows whose first column is not null, so that others do not pay for it.

    MySQL and MariaDB know no such condition, and index all rows. Django's own ``condition`` would
    have every ``migrate`` there warn of it.
    """

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        statement = super().create_sql(model, schema_editor, using=using, **kwargs)
        if schema_editor.connection.features.supports_partial_indexes:
            column = model._meta.get_field(self.fields[0]).column  # noqa: SLF001
            condition = f" WHERE {schema_editor.quote_name(column)} IS NOT NULL"
            statement.parts["condition"] = condition  # type: ignore[assignment]
        return statement
