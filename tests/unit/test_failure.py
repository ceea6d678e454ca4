"""Exceptions as data: what a class's constructor asks for, and what it leaves behind."""

from __future__ import annotations

import email.message
import urllib.error

import pydantic
import pytest

from django_qstash.exceptions import RunFailed, StepFailed
from django_qstash.tasks.execute import format_traceback
from django_qstash.tasks.failure import CAUSES, exception_as_data, to_exception


class Picky(Exception):
    """Leaves other arguments behind than it was made with."""

    def __init__(self, *, code):
        super().__init__()
        self.code = code

    def __str__(self):
        return f"picky {self.code}"


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("it has no words")


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


@pytest.fixture
def refused():
    return urllib.error.HTTPError("http://x/", 503, "away", email.message.Message(), None)


class TestWhatCannotBeHalfMade:
    """``urllib``'s looks every attribute up in a file that only its constructor opens."""

    def test_can_be_shown_and_says_the_same(self, refused):
        again = there_and_back(refused)

        assert (type(again).__name__, str(again)) == ("HTTPError", "HTTP Error 503: away")
        assert "HTTP Error 503: away" in format_traceback(again)
        assert not hasattr(again, "response")

    def test_what_its_constructor_would_have_set_is_not_asked_for_in_its_text(self):
        again = there_and_back(Picky(code=7))

        assert (str(again), repr(again)) == ("picky 7", "Picky('picky 7')")
        assert "picky 7" in format_traceback(again)
        assert exception_as_data(again)["exc_type"] == "Picky"

    def test_whose_text_raises_though_it_can_be_made(self):
        again = there_and_back(Mute("x"))

        assert isinstance(again, Mute)
        assert str(again) == "x"

    def test_a_traceback_that_cannot_be_formatted_is_a_line(self, refused):
        class Stubborn(Exception):
            def __getattr__(self, name):
                raise KeyError(name)

        with pytest.raises(Stubborn) as caught:
            raise Stubborn("no")

        text = format_traceback(caught.value)
        assert "Stubborn: no\n" in text

    def test_an_argument_that_cannot_be_shown(self):
        class Shy:
            def __repr__(self):
                raise RuntimeError

        assert "Shy" in str(there_and_back(ValueError(Shy())))


class TestWhatHasFailedForTheSakeOfSomethingElse:
    @pytest.fixture
    def failed(self):
        error = StepFailed("Step 'a' failed", step_id="a#1", attempts=3)
        error.__cause__ = KeyError("k")
        return error

    def test_a_step_says_which_it_was_and_why(self, failed):
        again = there_and_back(failed)

        assert (again.step_id, again.attempts) == ("a#1", 3)
        assert (type(again.__cause__), again.__cause__.args) == (KeyError, ("k",))

    def test_so_does_a_run_down_to_the_step_in_it(self, failed):
        error = RunFailed("The run has failed", run_id="r", step_id="child")
        error.__cause__ = failed

        again = there_and_back(error)

        assert (again.run_id, again.step_id) == ("r", "child")
        assert again.__cause__.step_id == "a#1"
        assert isinstance(again.__cause__.__cause__, KeyError)

    def test_a_circle_of_them_has_an_end(self, failed):
        error = RunFailed("The run has failed")
        error.__cause__, failed.__cause__ = failed, error

        data, depth = exception_as_data(error), 0
        while data := data.get("exc_cause"):
            depth += 1

        assert depth == CAUSES

    def test_others_are_as_celery_has_them(self):
        error = ValueError("x")
        error.__cause__ = KeyError("k")

        assert exception_as_data(error) == {
            "exc_type": "ValueError",
            "exc_module": "builtins",
            "exc_message": ["x"],
        }

    def test_nothing_else_is_set_because_a_row_says_so(self, failed):
        data = exception_as_data(failed)
        data["exc_known"] = {"args": ("other",), "step_id": "b"}

        again = to_exception(data)

        assert (again.args, again.step_id) == (("Step 'a' failed",), "b")
