"""Errors of steps, bodies and children: none is lost, and none stops a run that should go on."""

from __future__ import annotations

import email.message
import logging
import urllib.error
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest

from django_qstash import clock, shared_task
from django_qstash.exceptions import RetryAfter, RunFailed, StepFailed
from django_qstash.testing import QStashSandbox
from django_qstash.workflows import RetryPolicy, workflow
from django_qstash.workflows.calls import result_of
from django_qstash.workflows.models import DeadLetterEntry
from django_qstash.workflows.policy import FOREVER

HEARD = []
#: When ``hurried`` wants to come again; JSON has no word for some of them.
WISHES = {}


@pytest.fixture(autouse=True)
def heard():
    HEARD.clear()
    return HEARD


def refused(body=None):
    return urllib.error.HTTPError("http://x/", 503, "away", email.message.Message(), body)


def ask_a_service():
    raise refused()


def undecided(error):
    raise RuntimeError("it cannot decide")


@workflow("errors.refused", retries=1, on_failure=HEARD.append)
def refused_step(ctx):
    ctx.step.run("ask", ask_a_service)


@workflow("errors.refused_body", retries=0)
def refused_body(ctx):
    raise refused()


@shared_task(name="errors.refused_task")
def refused_task():
    raise refused()


@workflow("errors.missing", retries=2, on_failure=HEARD.append)
def missing(ctx):
    ctx.step.run("look", lambda: {}["no such key"])


@workflow("errors.parent", retries=0, on_failure=HEARD.append)
def parent(ctx, twice=False):
    if twice:
        ctx.step.run_workflow("child", echo)
    ctx.step.run_workflow("child", missing)


@workflow("errors.echo")
def echo(ctx):
    return 1


@workflow("errors.undecided", retry=RetryPolicy(should_retry=undecided))
def undecided_step(ctx):
    ctx.step.run("ask", ask_a_service)


@workflow("errors.hurried", retry=RetryPolicy(max_attempts=3, initial="1h"))
def hurried(ctx):
    def ask():
        HEARD.append(clock.time())
        raise RetryAfter(WISHES["when"])

    ctx.step.run("ask", ask)


@pytest.mark.django_db(transaction=True)
class TestAnErrorWhoseClassCannotBeHalfMade:
    def test_of_a_step(self, loopback):
        run = refused_step.trigger()

        assert run.status == "failed"
        said = "StepFailed: Step 'ask' failed after 2 attempts: HTTPError: HTTP Error 503: away"
        assert run.state()["error"] == said
        assert {status for _, status in loopback.answers} == {200, 489}
        (told,) = HEARD
        assert str(told.error.__cause__) == "HTTP Error 503: away"

    def test_of_a_body(self, loopback):
        assert refused_body.trigger().state()["error"] == "HTTPError: HTTP Error 503: away"

    def test_of_a_task(self, loopback):
        result = refused_task.delay()

        assert result.state == "FAILURE"
        assert str(result.result) == "HTTP Error 503: away"
        assert "HTTP Error 503: away" in result.traceback


@pytest.mark.django_db(transaction=True)
class TestTheCauseIsKept:
    def test_for_who_waits_for_the_run(self, loopback):
        with pytest.raises(RunFailed) as raised:
            missing.trigger().result(1)

        failed = raised.value.__cause__
        assert (type(failed), failed.step_id, failed.attempts) == (StepFailed, "look", 1)
        assert (type(failed.__cause__), failed.__cause__.args) == (KeyError, ("no such key",))

    def test_for_on_failure(self, loopback):
        missing.trigger()

        (told,) = HEARD
        assert (told.error.step_id, told.error.attempts) == ("look", 1)
        assert isinstance(told.error.__cause__, KeyError)

    @pytest.mark.parametrize(("twice", "step_id"), [(False, "child"), (True, "child#1")])
    def test_from_a_child_to_who_waits_for_its_parent(self, loopback, twice, step_id):
        run = parent.trigger({"twice": twice})

        assert run.state()["failed_step"] == step_id
        assert DeadLetterEntry.objects.get(run_id=run).step_id == step_id
        with pytest.raises(RunFailed) as raised:
            run.result(1)
        of_child = raised.value.__cause__
        assert (type(of_child), of_child.step_id) == (RunFailed, step_id)
        assert of_child.run_id
        assert of_child.__cause__.step_id == "look"
        assert isinstance(of_child.__cause__.__cause__, KeyError)
        assert HEARD[-1].failed_step == step_id


class TestWhenToComeAgain:
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("when", [-5, timedelta(days=-1), float("-inf")])
    def test_what_is_negative_is_at_once(self, when):
        WISHES["when"] = when
        with QStashSandbox() as qstash:
            run = hurried.trigger()
            qstash.advance(1)
            assert (run.status, len(HEARD)) == ("failed", 3)

    @pytest.mark.parametrize(
        "when", ["soon", None, "", True, [], b"5", float("nan"), float("inf"), "2026-01-01"]
    )
    def test_what_says_no_time_is_refused_where_it_is_written(self, when):
        with pytest.raises(TypeError, match="says no time: give seconds"):
            RetryAfter(when)

    def test_a_datetime_without_a_zone_is_in_that_of_the_site(self, settings):
        settings.TIME_ZONE = "Asia/Tokyo"
        with clock.use(clock.VirtualClock()):
            here = datetime.fromtimestamp(clock.time() + 600, timezone(timedelta(hours=9)))
            for when in (here, here.replace(tzinfo=None)):
                assert RetryPolicy().next_attempt(RetryAfter(when), 1) == pytest.approx(600)

    @pytest.mark.parametrize("when", [1e300, datetime.max, 10**400 - 10**400 + 10**12])
    def test_no_pause_ends_after_the_last_date(self, when):
        pause = RetryPolicy().next_attempt(RetryAfter(when), 1)

        assert pause == FOREVER
        assert clock.now() + timedelta(seconds=pause)

    def test_one_that_has_lost_its_time_comes_after_the_policys_delay(self, caplog):
        class Busy(RetryAfter):
            def __init__(self):
                Exception.__init__(self, "busy")

        with caplog.at_level(logging.ERROR, "django_qstash.workflows"):
            assert RetryPolicy(initial=7, jitter=0).next_attempt(Busy(), 1) == 7
        assert "Busy says no time" in caplog.text


class TestAPolicyKeepsTheErrorItIsAskedAbout:
    @pytest.mark.django_db(transaction=True)
    def test_should_retry_that_raises_is_logged_and_means_no(self, loopback, caplog):
        with caplog.at_level(logging.ERROR, "django_qstash.workflows"):
            run = undecided_step.trigger()

        assert run.status == "failed"
        assert run.state()["error"].endswith("failed: HTTPError: HTTP Error 503: away")
        (record,) = [each for each in caplog.records if "should_retry" in each.message]
        assert "it cannot decide" in str(record.exc_info[1])

    def test_one_that_answers_for_no_attribute_is_no_refusal(self):
        class Stubborn(Exception):
            def __getattr__(self, name):
                raise RuntimeError(name)

        assert RetryPolicy().accepts(Stubborn())

    @pytest.mark.parametrize("backoff", [1e300, 10**400, float("inf"), Fraction(10**9)])
    @pytest.mark.parametrize("attempt", [2, 70, 10**9])
    def test_no_number_is_too_large(self, backoff, attempt):
        policy = RetryPolicy(backoff=backoff, max_attempts=10**10, maximum=60, jitter=0)

        assert policy.next_attempt(OSError(), attempt) == 60
        assert RetryPolicy(backoff=backoff, initial=0, jitter=0).delay(attempt) == 0

    def test_the_longest_of_all_maximums(self):
        policy = RetryPolicy(initial=1e300, maximum=1e308, max_attempts=10)

        assert policy.next_attempt(OSError(), 1) == FOREVER


class TestAPolicyIsRefusedWhereItIsWritten:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"backoff": "2"},
            {"backoff": None},
            {"backoff": True},
            {"backoff": float("nan")},
            {"backoff": 0.5},
            {"jitter": "x"},
            {"jitter": None},
            {"jitter": 1.5},
            {"non_retryable": None},
            {"non_retryable": "OSError"},
            {"non_retryable": 5},
            {"non_retryable": [OSError, "x"]},
            {"non_retryable": int},
            {"max_attempts": 0},
            {"max_attempts": 1.5},
            {"max_attempts": "3"},
            {"max_attempts": True},
            {"initial": None},
            {"initial": "soon"},
            {"initial": -1},
            {"maximum": []},
            {"maximum": float("inf")},
            {"should_retry": True},
        ],
        ids=str,
    )
    def test_what_makes_no_sense(self, wrong):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"^{name}"):
            RetryPolicy(**wrong)

    def test_classes_may_come_one_by_one(self):
        policy = RetryPolicy(non_retryable=(each for each in (OSError, LookupError)))

        assert policy.non_retryable == (OSError, LookupError)
        assert RetryPolicy(non_retryable=OSError).non_retryable == (OSError,)


class TestTheTextOfAnAnswer:
    @pytest.mark.parametrize(
        ("content", "kind", "data"),
        [
            ("é".encode("latin-1"), "text/plain; charset=latin-1", "é"),
            ("é".encode("latin-1"), ["text/plain; charset=ISO-8859-1"], "é"),
            ("日本".encode("shift-jis"), 'text/html; charset="Shift_JIS"', "日本"),
            ('{"a": "é"}'.encode("utf-16"), "application/json; charset=utf-16", {"a": "é"}),
            ("é".encode(), "text/plain", "é"),
            ("é".encode(), "", "é"),
            ("é".encode(), "text/plain; charset=", "é"),
            ("é".encode(), "text/plain; charset=klingon", "é"),
            # Python knows these, but not as charsets of text.
            ("é".encode(), "text/plain; charset=rot13", "é"),
            ("é".encode(), "text/plain; charset=undefined", "é"),
            ("é".encode(), "text/plain; charset=idna", "é"),
            ("é".encode(), "text/plain; charset=\0", "é"),
            (b"\xff", "text/plain; charset=utf-8", "\N{REPLACEMENT CHARACTER}"),
            (b"\xff", "text/plain", "\N{REPLACEMENT CHARACTER}"),
            (b"\\ud800", "text/plain; charset=unicode_escape", "?"),
        ],
    )
    def test_is_in_the_charset_that_its_type_names(self, content, kind, data):
        assert result_of(200, content, {"Content-Type": kind})["data"] == data
