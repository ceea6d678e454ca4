"""Again, and when: Celery's rules for retries."""

from __future__ import annotations

import json

import pytest

from django_qstash import (
    AsyncResult,
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    Reject,
    Retry,
    Task,
    clock,
    shared_task,
)
from django_qstash.messages import TaskMessage
from django_qstash.results.models import TaskResult
from django_qstash.tasks.retry import backoff
from tests.door import knock, letter

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]


def published(outbox):
    return [TaskMessage.from_dict(json.loads(envelope.body)) for envelope in outbox.sent]


def run_out(outbox, message, virtual):
    """Deliver a letter and whatever it leads to, in time; the answers."""
    answers = [knock(message).json()["status"]]
    while outbox.sent:
        envelope = outbox.sent.pop(0)
        virtual.advance(int(envelope.options.get("delay", "0s")[:-1]))
        answers.append(knock(envelope.body).json()["status"])
    return answers


class TestOneRetry:
    def test_is_recorded_and_sent_as_the_same_task_one_later(self, outbox, virtual):
        @shared_task(name="again", bind=True)
        def again(self, x):
            self.retry(countdown=30)

        message = letter(
            "again",
            7,
            expires="2030-01-01T00:00:00+00:00",
            headers={"h": 1},
            queue="q",
            root_id="r",
            parent_id="p",
            priority=3,
            options={"label": "l"},
        )
        response = knock(message)

        assert (response.status_code, response.json()["status"]) == (200, "retry")
        (next_letter,) = published(outbox)
        eta = clock.now().timestamp() + 30
        assert next_letter == message.but(retries=1, eta=next_letter.eta)
        assert abs(clock.datetime.fromisoformat(next_letter.eta).timestamp() - eta) < 0.001
        assert outbox.sent[0].options["delay"] == "30s"
        assert outbox.sent[0].options["label"] == "l"
        assert AsyncResult(message.id).state == "RETRY"

    def test_a_redelivery_of_what_asked_for_it_sends_the_same_letter_again(self, outbox, virtual):
        @shared_task(name="again", bind=True)
        def again(self):
            self.retry(countdown=30)

        message = letter("again")
        knock(message)
        virtual.advance(5)
        assert knock(message, message_id="msg_2").json()["status"] == "duplicate"

        first, second = outbox.sent
        assert first.body == second.body
        assert first.options["deduplication_id"] == second.options["deduplication_id"]

    def test_runs_under_the_same_id_with_retries_counted(self, outbox, virtual):
        @shared_task(name="thrice", bind=True)
        def thrice(self):
            if self.request.retries < 2:
                self.retry(countdown=1)
            return self.request.retries

        message = letter("thrice")
        assert run_out(outbox, message, virtual) == ["retry", "retry", "success"]
        result = AsyncResult(message.id)
        assert (result.result, result.retries) == (2, 2)

    def test_unless_it_says_when_comes_after_three_minutes(self, outbox, virtual):
        plain = shared_task(name="plain", bind=True)(lambda self: self.retry())
        knock(letter("plain"))
        assert outbox.sent[0].options["delay"] == "180s"
        assert plain.default_retry_delay == 180

    def test_countdown_zero_is_at_once(self, outbox, virtual):
        shared_task(name="plain", bind=True)(lambda self: self.retry(countdown=0))
        knock(letter("plain"))
        assert "delay" not in outbox.sent[0].options

    def test_may_change_arguments_and_options(self, outbox, virtual):
        @shared_task(name="changed", bind=True)
        def changed(self, a, b=0):
            self.retry(args=(1,), kwargs={"b": 2}, countdown=5, queue="slow", label="again")

        knock(letter("changed", 9))
        (next_letter,) = published(outbox)
        assert (list(next_letter.args), next_letter.kwargs) == ([1], {"b": 2})
        assert next_letter.queue == "slow"
        assert outbox.sent[0].options["label"] == "again"

    def test_may_change_its_time_limits(self, outbox, virtual):
        @shared_task(name="limited", bind=True)
        def limited(self):
            if self.request.retries == 0:
                self.retry(countdown=0, time_limit=50, soft_time_limit=40)
            return self.request.timelimit

        message = letter("limited", timelimit=[20, None])
        assert knock(message).json()["status"] == "retry"
        assert outbox.sent[0].options["timeout"] == "60s"
        assert knock(outbox.sent[0].body).json()["status"] == "success"
        assert AsyncResult(message.id).result == [50, 40]

    def test_a_half_that_is_not_given_is_kept_unless_it_says_the_same(self, outbox, virtual):
        @shared_task(name="halves", bind=True)
        def halves(self, a, b=2, *, c=3):
            if self.request.retries == 0:
                self.retry(kwargs={"b": 9}, countdown=0)
            if self.request.retries == 1:
                self.retry(args=(8, 7), countdown=0)
            return [a, b, c]

        message = letter("halves", 1, 5, kwargs={"c": 6})
        run_out(outbox, message, virtual)
        assert AsyncResult(message.id).result == [8, 7, 3]

    def test_arguments_that_json_cannot_carry_fail_the_task(self, outbox):
        @shared_task(name="odd", bind=True)
        def odd(self, x):
            self.retry(args=(object(),))

        message = letter("odd", 1)
        assert knock(message).status_code == 489
        assert isinstance(AsyncResult(message.id).result, EncodeError)
        assert outbox.sent == []

    def test_that_qstash_did_not_take_is_sent_by_the_redelivery(self, outbox, settings):
        shared_task(name="plain", bind=True)(lambda self: self.retry(countdown=0))
        message = letter("plain")
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        assert knock(message).status_code == 503
        assert AsyncResult(message.id).state == "RETRY"

        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Outbox"
        from django_qstash.transport import get_transport

        assert knock(message).status_code == 200
        assert len(get_transport().sent) == 1

    def test_called_directly_raises_the_exception(self):
        @shared_task(bind=True, name="direct")
        def direct(self):
            try:
                raise ValueError("cause")
            except ValueError:
                self.retry(exc=KeyError("k"))

        with pytest.raises(KeyError) as caught:
            direct()
        assert isinstance(caught.value.__cause__, ValueError)

    def test_called_directly_without_an_exception_raises_retry(self):
        direct = shared_task(bind=True, name="direct")(lambda self: self.retry())
        with pytest.raises(Retry):
            direct()

    @pytest.mark.parametrize("name", ["nonsense", "task_id", "using"])
    def test_an_option_that_is_none_is_refused(self, outbox, name):
        odd = shared_task(name="odd", bind=True)(lambda self: self.retry(**{name: "x"}))
        message = letter("odd")
        knock(message)
        assert isinstance(AsyncResult(message.id).result, TypeError)
        assert isinstance(odd.apply().result, TypeError)

    def test_raised_by_hand_is_one_as_well_and_ends_as_one(self, outbox, virtual):
        seen = []

        @shared_task(name="byhand", bind=True, max_retries=2)
        def by_hand(self):
            seen.append(self.request.retries)
            raise Retry("later", exc=ValueError("never"))

        message = letter("byhand")
        assert run_out(outbox, message, virtual) == ["retry", "retry", "failure"]
        assert isinstance(AsyncResult(message.id).result, ValueError)
        assert isinstance(by_hand.apply().result, ValueError)
        assert seen == [0, 1, 2, 0, 1, 2]


class TestTheLimit:
    def count(self, outbox, virtual, **options):
        runs = []

        @shared_task(name="counted", bind=True, **options)
        def counted(self):
            runs.append(self.request.retries)
            self.retry(countdown=0)

        message = letter("counted")
        answers = run_out(outbox, message, virtual)
        return runs, answers, AsyncResult(message.id)

    def test_is_three_retries_by_default(self, outbox, virtual):
        runs, answers, result = self.count(outbox, virtual)
        assert runs == [0, 1, 2, 3]
        assert answers == ["retry"] * 3 + ["failure"]
        assert isinstance(result.result, MaxRetriesExceededError)
        assert "Can't retry counted" in str(result.result)

    def test_may_be_another(self, outbox, virtual):
        assert self.count(outbox, virtual, max_retries=1)[0] == [0, 1]

    def test_none_is_for_ever(self, outbox, virtual):
        runs = []

        @shared_task(name="ever", bind=True, max_retries=None)
        def ever(self):
            runs.append(1)
            if len(runs) < 50:
                self.retry(countdown=0)

        run_out(outbox, letter("ever"), virtual)
        assert len(runs) == 50

    def test_raises_the_exception_that_was_given(self, outbox, virtual):
        @shared_task(name="given", bind=True, max_retries=0)
        def given(self):
            try:
                raise ValueError("the cause")
            except ValueError as error:
                self.retry(exc=error)

        message = letter("given")
        assert knock(message).status_code == 489
        assert isinstance(AsyncResult(message.id).result, ValueError)

    def test_of_one_call_holds_for_that_call(self, outbox, virtual):
        runs = []

        @shared_task(name="once", bind=True)
        def once(self):
            runs.append(1)
            self.retry(countdown=0, max_retries=10 if len(runs) == 1 else None)

        run_out(outbox, letter("once"), virtual)
        assert len(runs) == 4


class TestAutomaticRetries:
    def test_for_the_exceptions_named(self, outbox, virtual):
        @shared_task(name="auto", autoretry_for=(ValueError,), retry_kwargs={"max_retries": 2})
        def auto():
            raise ValueError("always")

        message = letter("auto")
        assert run_out(outbox, message, virtual) == ["retry", "retry", "failure"]
        assert isinstance(AsyncResult(message.id).result, ValueError)

    def test_not_for_others(self, outbox):
        @shared_task(name="auto", autoretry_for=(ValueError,))
        def auto():
            raise KeyError("other")

        assert knock(letter("auto")).status_code == 489

    def test_not_for_those_excepted(self, outbox):
        @shared_task(name="auto", autoretry_for=(Exception,), dont_autoretry_for=(KeyError,))
        def auto():
            raise KeyError("excepted")

        assert knock(letter("auto")).status_code == 489

    def test_not_for_ignore(self, outbox):
        @shared_task(name="auto", autoretry_for=(Exception,))
        def auto():
            raise Ignore

        assert knock(letter("auto")).json()["status"] == "ignored"

    def test_are_inherited_from_a_base_class(self, outbox, virtual):
        class Base(Task):
            autoretry_for = (ValueError,)
            retry_backoff = True
            retry_jitter = False
            max_retries = 4

        @shared_task(name="auto", base=Base)
        def auto():
            raise ValueError

        message = letter("auto")
        knock(message)
        delays = []
        while outbox.sent:
            envelope = outbox.sent.pop()
            delays.append(envelope.options["delay"])
            virtual.advance(100)
            knock(envelope.body)
        assert delays == ["1s", "2s", "4s", "8s"]

    def test_with_a_fixed_countdown(self, outbox, virtual):
        @shared_task(name="auto", autoretry_for=(ValueError,), retry_kwargs={"countdown": 7})
        def auto():
            raise ValueError

        knock(letter("auto"))
        assert outbox.sent[0].options["delay"] == "7s"

    @pytest.mark.parametrize(
        ("factor", "retries", "maximum", "expected"),
        [(1, 0, 600, 1), (1, 3, 600, 8), (5, 2, 600, 20), (1, 20, 600, 600), (3, 9999, 60, 60)],
    )
    def test_backoff_doubles_up_to_the_maximum(self, factor, retries, maximum, expected):
        assert backoff(factor=factor, retries=retries, maximum=maximum, jitter=False) == expected

    def test_jitter_is_anything_up_to_that(self):
        found = {backoff(factor=1, retries=2, maximum=600, jitter=True) for _ in range(300)}
        assert found == {0, 1, 2, 3, 4}


class TestThrowFalse:
    def test_the_task_goes_on_and_is_run_again_as_well(self, outbox, virtual):
        seen = []

        @shared_task(name="both", bind=True)
        def both(self):
            seen.append(self.request.retries)
            if self.request.retries == 0:
                self.retry(throw=False, countdown=0)
                return "first"
            return "second"

        message = letter("both")
        assert run_out(outbox, message, virtual) == ["success", "success"]
        assert seen == [0, 1]
        assert AsyncResult(message.id).result == "second"

    def test_raised_later_it_is_one_retry(self, outbox, virtual):
        @shared_task(name="later", bind=True)
        def later(self):
            raise self.retry(throw=False, countdown=0)

        knock(letter("later"))
        assert len(outbox.sent) == 1


class TestEager:
    def test_runs_again_at_once(self):
        @shared_task(name="eager", bind=True)
        def eager(self):
            if self.request.retries < 2:
                self.retry(countdown=1000)
            return self.request.retries

        result = eager.apply()
        assert (result.get(), result.state) == (2, "SUCCESS")

    def test_up_to_the_limit(self):
        result = shared_task(name="eager", bind=True)(lambda self: self.retry()).apply()
        assert isinstance(result.result, MaxRetriesExceededError)

    def test_with_propagation_the_retry_rises_as_in_celery(self):
        eager = shared_task(name="eager", bind=True)(lambda self: self.retry())
        with pytest.raises(Retry):
            eager.apply(throw=True)


class TestWhatATaskMaySayOfItself:
    def test_ignore_is_the_end_and_nothing_is_stored(self, outbox):
        @shared_task(name="ignored", bind=True)
        def ignored(self):
            raise Ignore

        message = letter("ignored")
        assert knock(message).json()["status"] == "ignored"
        assert knock(message).json()["status"] == "ignored"
        assert AsyncResult(message.id).result is None

    def test_a_state_of_one_s_own_survives_ignore(self):
        @shared_task(name="own", bind=True)
        def own(self):
            self.update_state(state="CUSTOM", meta={"at": 3})
            raise Ignore

        message = letter("own")
        knock(message)
        result = AsyncResult(message.id)
        assert (result.state, result.info) == ("CUSTOM", {"at": 3})

    def test_reject_with_requeue_is_delivered_again(self):
        runs = []

        @shared_task(name="rejected", bind=True)
        def rejected(self):
            runs.append(self.request.delivery_info["redelivered"])
            if len(runs) == 1:
                raise Reject("not now", requeue=True)
            return "taken"

        message = letter("rejected")
        assert knock(message).status_code == 503
        assert knock(message, retried=1).status_code == 200
        assert runs == [False, True]
        assert AsyncResult(message.id).result == "taken"

    @pytest.mark.parametrize("options", [{}, {"acks_late": False}], ids=["late", "at most once"])
    def test_a_requeued_task_is_not_one_whose_process_died(self, settings, options):
        settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS = 2

        @shared_task(name="rejected", bind=True, **options)
        def rejected(self):
            runs.append(1)
            if len(runs) < 5:
                raise Reject("not now", requeue=True)

        message, runs = letter("rejected"), []
        answers = [knock(message).status_code for _ in range(5)]
        assert answers == [503, 503, 503, 503, 200]
        assert AsyncResult(message.id).state == "SUCCESS"

    def test_reject_is_a_failure(self):
        @shared_task(name="rejected")
        def rejected():
            raise Reject("no")

        message = letter("rejected")
        assert knock(message).status_code == 489
        assert isinstance(AsyncResult(message.id).result, Reject)

    def test_throws_is_logged_without_a_traceback(self, caplog):
        caplog.set_level("INFO")

        @shared_task(name="expected", throws=(ValueError,))
        def expected():
            raise ValueError("as expected")

        knock(letter("expected"))
        (record,) = [r for r in caplog.records if "as expected" in r.getMessage()]
        assert (record.levelname, record.exc_info) == ("INFO", None)

    def test_throws_may_be_one_class(self, caplog):
        told = []

        class Told(Task):
            abstract = True

            def on_failure(self, exc, *_):
                told.append(exc)

        @shared_task(name="expected", base=Told, throws=LookupError)
        def expected():
            raise KeyError("no such thing")

        assert knock(letter("expected")).status_code == 489
        assert isinstance(told[0], KeyError)
        assert "raised expected" not in "".join(
            record.getMessage() for record in caplog.records if record.levelname == "ERROR"
        )

    def test_hooks_and_signals_of_a_retry(self):
        from django_qstash import signals

        seen = []

        class Hooked(Task):
            def on_retry(self, exc, task_id, args, kwargs, einfo):
                seen.append(("on_retry", type(exc).__name__, TaskResult.objects.get().status))

            def after_return(self, *args):
                seen.append("after_return")

        @shared_task(name="hooked", base=Hooked, bind=True)
        def hooked(self):
            self.retry(exc=ValueError("x"))

        def receiver(sender, request, reason, einfo, **kwargs):
            seen.append(("task_retry", sender.name, request.id == message.id, str(reason)[:5]))

        signals.task_retry.connect(receiver)
        message = letter("hooked")
        try:
            knock(message)
        finally:
            signals.task_retry.disconnect(receiver)
        assert seen == [
            ("on_retry", "ValueError", "RETRY"),
            ("task_retry", "hooked", True, "Retry"),
        ]
