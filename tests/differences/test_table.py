"""The table itself: each row once, whole, and shown by a test."""

from __future__ import annotations

import pytest

from django_qstash.migrate.differences import rows
from tests.differences import shown


def test_every_row_is_shown_by_a_test():
    assert set(shown()) == {row.key for row in rows()}


def test_each_key_stands_once():
    keys = [row.key for row in rows()]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.key)
def test_each_cell_is_a_line_of_whole_sentences(row):
    for cell in (row.feature, row.celery, row.here, row.difference):
        assert cell.strip() == cell
        assert cell
        assert not {"|", "\n"} & set(cell)
    for sentence in (row.celery, row.here, row.difference):
        assert sentence.endswith(".")
