"""Exceptions as data: what a class's constructor asks for, and what it leaves behind."""

from __future__ import annotations

import pydantic
import pytest

from django_qstash.tasks.failure import exception_as_data, to_exception


class Picky(Exception):
    """Leaves other arguments behind than it was made with."""

    def __init__(self, *, code):
        super().__init__()
        self.code = code

    def __str__(self):
        return f"picky {self.code}"


class Page(pydantic.BaseModel):
    number: int


def there_and_back(error):
    return to_exception(exception_as_data(error))


@pytest.mark.parametrize("error", [ValueError("x", 1), KeyError("k"), OSError(2, "none")])
def test_comes_back_as_itself(error):
    again = there_and_back(error)

    assert (type(again), again.args) == (type(error), error.args)


def test_whose_constructor_asks_for_more_is_still_caught_as_itself():
    assert isinstance(there_and_back(Picky(code=7)), Picky)


def test_that_cannot_be_made_at_all_is_a_stand_in_that_says_the_same():
    with pytest.raises(pydantic.ValidationError) as caught:
        Page(number="no number")

    again = there_and_back(caught.value)

    assert type(again).__name__ == "ValidationError"
    assert "unable to parse string as an integer" in str(again)


def test_whose_text_raises():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    assert type(there_and_back(Silent())).__name__ == "Silent"


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "int", "eval"])
def test_nothing_but_an_exception_is_made(name):
    again = to_exception({"exc_type": name, "exc_module": "builtins", "exc_message": ["1"]})

    assert isinstance(again, Exception)
    assert type(again).__module__ == "django_qstash.exceptions"


def test_nothing_is_imported_because_a_row_says_so():
    import sys

    sys.modules.pop("this", None)
    to_exception({"exc_type": "Error", "exc_module": "this", "exc_message": []})

    assert "this" not in sys.modules
