"""Errors have Celery's names and bases, say what to do, and can be carried elsewhere."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from datetime import datetime, timezone

import pytest
from django.core.exceptions import ImproperlyConfigured as DjangosImproperlyConfigured

from django_qstash import exceptions
from django_qstash.exceptions import (
    ChordError,
    DjangoQStashError,
    ImproperlyConfigured,
    Interrupt,
    MaxRetriesExceededError,
    NotRegistered,
    PublishError,
    Reject,
    ResultsNotInstalled,
    Retry,
    TaskError,
    TimeoutError,  # noqa: A004 - Celery's name
)

ALL = [getattr(exceptions, name) for name in exceptions.__all__]


def name_of(kind: type) -> str:
    return kind.__name__


def drawing() -> dict[str, str | None]:
    """Each name in the tree of the module's docstring, and the one it hangs on."""
    parents: dict[str, str | None] = {}
    branch: list[tuple[int, str]] = []
    for line in exceptions.__doc__.partition("::")[2].splitlines():
        if found := re.match(r"([ │├└─]*)(\w+)", line):
            depth, name = len(found[1]), found[2]
            branch = [knot for knot in branch if knot[0] < depth]
            parents[name] = branch[-1][1] if branch else None
            branch.append((depth, name))
    return parents


class TestTheTree:
    def test_all_of_them_are_public(self):
        defined = {
            name
            for name, value in vars(exceptions).items()
            if isinstance(value, type) and value.__module__ == exceptions.__name__
        }

        assert defined == set(exceptions.__all__)
        assert list(exceptions.__all__) == sorted(exceptions.__all__)

    def test_the_drawing_shows_each_under_its_first_base(self):
        assert drawing() == {
            **{kind.__name__: kind.__bases__[0].__name__ for kind in ALL},
            **dict.fromkeys(("Exception", "BaseException", "UserWarning")),
        }

    @pytest.mark.parametrize("kind", ALL, ids=name_of)
    def test_each_says_what_it_means(self, kind):
        assert kind.__doc__

    def test_interrupts_are_not_swallowed_by_a_tasks_own_handler(self):
        interrupts = [kind for kind in ALL if not issubclass(kind, Exception)]

        assert exceptions.LeaseLost in interrupts
        assert all(issubclass(kind, Interrupt) for kind in interrupts)

    def test_what_is_caught_today_is_caught_tomorrow(self):
        assert issubclass(ImproperlyConfigured, DjangosImproperlyConfigured)
        assert issubclass(TimeoutError, builtins.TimeoutError)
        assert issubclass(NotRegistered, KeyError)
        assert issubclass(exceptions.EncodeError, TypeError)
        assert issubclass(exceptions.OptionError, ValueError)
        assert issubclass(exceptions.PayloadTooLarge, ValueError)
        assert issubclass(exceptions.MessageError, ValueError)
        assert issubclass(ChordError, TaskError)


def publish_error() -> PublishError:
    error = PublishError("QStash is away")
    error.status = 429
    return error


class TestCarriedElsewhere:
    """Test runners and process pools send exceptions from one process to another."""

    @pytest.mark.parametrize(
        "error",
        [
            *(kind("what happened") for kind in ALL if kind is not exceptions.RetryAfter),
            exceptions.RetryAfter("5m", "what happened"),
            publish_error(),
            Retry("again", ValueError("why"), 30, is_eager=True),
            Retry(exc="why", when=datetime(2026, 1, 1, tzinfo=timezone.utc)),
            Reject("no", requeue=True),
            MaxRetriesExceededError("over", task_args=(1,), task_kwargs={"a": 2}),
            ResultsNotInstalled(),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("carry", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
    def test_an_error_arrives_as_it_was(self, error, carry):
        arrived = carry(error)

        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert {k: repr(v) for k, v in vars(arrived).items()} == {
            k: repr(v) for k, v in vars(error).items()
        }


class TestRetry:
    @pytest.mark.parametrize(
        ("retry", "text"),
        [
            (Retry("again"), "again"),
            (Retry(when=30), "Retry in 30s"),
            (Retry(when=0.5), "Retry in 0.5s"),
            (Retry(exc=ValueError("why"), when=30), "Retry in 30s: ValueError('why')"),
            (Retry(exc="why", when=30), "Retry in 30s: why"),
            (
                Retry(when=datetime(2026, 1, 1, tzinfo=timezone.utc)),
                "Retry at 2026-01-01 00:00:00+00:00",
            ),
        ],
    )
    def test_it_says_when_and_why(self, retry, text):
        assert str(retry) == text

    def test_it_keeps_the_error_and_its_words(self):
        error = ValueError("why")

        assert (Retry(exc=error).exc, Retry(exc=error).excs) == (error, "ValueError('why')")
        assert (Retry(exc="why").exc, Retry(exc="why").excs) == (None, "why")
        assert (Retry().exc, Retry().excs) == (None, None)

    def test_an_error_that_counts_as_false_is_an_error(self):
        class Nothing(Exception):
            def __len__(self):
                return 0

        assert Retry(exc=Nothing()).excs == "Nothing()"


class TestTexts:
    def test_a_missing_task_is_named_without_quotes_around_the_sentence(self):
        assert str(NotRegistered("No task is called 'a'.")) == "No task is called 'a'."
        assert str(NotRegistered()) == "Task not registered."

    def test_missing_results_say_what_to_do(self):
        text = str(ResultsNotInstalled("Chords"))

        assert text.startswith("Chords need the results app: add 'django_qstash.results' to ")
        assert isinstance(ResultsNotInstalled(), DjangoQStashError)

    def test_a_rejection_shows_its_reason(self):
        assert repr(Reject("no", requeue=True)) == "reject requeue=True: no"

    def test_without_an_answer_there_is_no_status(self):
        assert PublishError("x").status is None
