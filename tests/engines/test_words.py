"""The tables themselves: each row once, whole, shown by a test, and on its page."""

from __future__ import annotations

import pytest

from tests.differences import shown
from tests.engines.words import PAGES, SHORT


def test_every_row_is_shown_by_a_test():
    rows = {f"{short}:{word.key}" for short, page in SHORT.items() for word in PAGES[page]}

    assert set(shown("tests.engines")) == rows


@pytest.mark.parametrize("page", PAGES)
def test_each_row_stands_once_and_each_cell_is_one_of_a_table(page):
    keys = [word.key for word in PAGES[page]]

    assert len(keys) == len(set(keys))
    for word in PAGES[page]:
        for cell in (word.theirs, word.ours):
            assert cell
            assert cell.strip() == cell
            assert cell.count("`") % 2 == 0
            assert not {"|", "\n"} & set(cell)
