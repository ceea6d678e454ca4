"""A letter arrives: once, twice, late, early, after a crash, or never again."""

from __future__ import annotations

import json

import pytest

from django_qstash import AsyncResult, Task, clock, shared_task, signals
from django_qstash.exceptions import WorkerLostError
from django_qstash.messages import TaskMessage
from django_qstash.results.database import DatabaseStore
from django_qstash.results.models import TaskResult
from django_qstash.tasks.options import iso
from django_qstash.tasks.registry import tasks as registry
from tests.door import given_up, knock, letter
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db

NOTE = "tests.shop.tasks.note"
store = DatabaseStore()


@pytest.fixture
def task():
    names = set(registry)
    yield shared_task
    for name in set(registry) - names:
        registry.unregister(name)


def published(outbox):
    return [TaskMessage.from_dict(json.loads(envelope.body)) for envelope in outbox.sent]


def effects():
    return Effect.objects.count()


class TestTheSameDeliveryAgain:
    def test_runs_once(self):
        message = letter(NOTE, "paid")

        assert knock(message).json() == {"status": "success"}
        assert knock(message, retried=1).json()["status"] == "success"
        assert knock(message, message_id="msg_2").json()["status"] == "duplicate"
        assert effects() == 1

    def test_of_a_failure_answers_489_to_the_message_that_failed_and_200_to_its_copies(self):
        message = letter("tests.shop.tasks.fail")

        assert knock(message).status_code == 489
        assert knock(message, retried=1).status_code == 489
        assert knock(message, message_id="msg_2").status_code == 200

    def test_while_the_first_runs_sends_a_copy_for_later(self, outbox, settings):
        settings.DJANGO_QSTASH_LEASE = 60
        message = letter(NOTE, "paid")
        store.claim(message, message_id="msg_1")

        response = knock(message, message_id="msg_2")

        assert response.status_code == 200
        assert response.json()["status"] == "busy"
        assert effects() == 0
        (envelope,) = outbox.sent
        assert 58 <= int(envelope.options["delay"][:-1]) <= 63
        (copy,) = published(outbox)
        assert copy == message.but(p=1)

    def test_a_copy_is_never_taken_for_a_repetition(self, outbox):
        message = letter(NOTE, "paid")
        store.claim(message, message_id="msg_1")
        knock(message, message_id="msg_2")
        knock(message, message_id="msg_3")

        first, second = (envelope.options["deduplication_id"] for envelope in outbox.sent)
        assert first != second

    def test_while_the_first_runs_and_qstash_is_down_is_sent_back(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        message = letter(NOTE, "paid")
        store.claim(message, message_id="msg_1")

        assert knock(message, message_id="msg_2").status_code == 503

    def test_after_a_crash_runs_again(self, virtual):
        message = letter(NOTE, "paid")
        store.claim(message, message_id="msg_1")
        virtual.advance(61)

        assert knock(message, retried=1).json() == {"status": "success"}
        assert effects() == 1


class TestATaskThatKillsItsProcess:
    def test_ends_as_a_failure_after_as_many_attempts_as_are_allowed(self, virtual, settings):
        settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS = 3
        message = letter(NOTE, "paid")
        for _ in range(3):
            store.claim(message, message_id="msg_1")
            virtual.advance(61)

        response = knock(message)

        assert response.status_code == 489
        assert effects() == 0
        result = AsyncResult(message.id)
        assert result.state == "FAILURE"
        assert isinstance(result.result, WorkerLostError)
        assert "3 times" in str(result.result)


class TestALeaseLostWhileTheBodyRuns:
    def test_the_late_outcome_does_not_count(self, task, virtual, outbox):
        @task(name="slow")
        def slow():
            virtual.advance(61)
            taken = store.claim(message, message_id="msg_2")
            from django_qstash.tasks.store import Outcome

            store.record(message, taken.token, Outcome(status="SUCCESS", result='"fast"'), "msg_2")
            return "slow"

        message = letter("slow")
        response = knock(message)

        assert response.json()["status"] == "duplicate"
        assert AsyncResult(message.id).result == "fast"
        assert outbox.sent == []

    def test_while_the_other_still_runs_a_copy_is_sent(self, task, virtual, outbox):
        @task(name="slow")
        def slow():
            virtual.advance(61)
            store.claim(message, message_id="msg_2")

        message = letter("slow")

        assert knock(message).json()["status"] == "busy"
        assert len(outbox.sent) == 1


class TestTheEngineGivesUp:
    def test_the_letter_is_sent_again_with_its_life_counted(self, outbox):
        message = letter(NOTE, "paid")

        assert given_up(message).status_code == 200
        (again,) = published(outbox)
        assert again == message.but(life=1)
        assert again.deduplication_id != message.deduplication_id

    def test_a_failure_that_we_answered_is_nothing_new(self, outbox):
        assert given_up(letter(NOTE, "paid"), status=489).status_code == 200
        assert outbox.sent == []

    def test_after_its_last_life_the_task_fails(self, outbox):
        message = letter(NOTE, "paid", life=2)

        assert given_up(message).status_code == 489
        result = AsyncResult(message.id)
        assert isinstance(result.result, WorkerLostError)
        assert effects() == 0

    def test_even_a_task_that_nobody_knows_any_more_fails(self, outbox):
        message = letter("gone.from.the.code", life=2)

        assert given_up(message).status_code == 489
        assert AsyncResult(message.id).state == "FAILURE"

    def test_what_was_recorded_in_the_meantime_stays(self, outbox):
        message = letter(NOTE, "paid")
        knock(message)

        assert given_up(message.but(life=2)).status_code == 200
        assert AsyncResult(message.id).state == "SUCCESS"

    def test_while_someone_is_at_work_on_it_a_copy_is_sent(self, outbox):
        message = letter(NOTE, "paid", life=2)
        store.claim(message, message_id="msg_1")

        assert given_up(message).json()["status"] == "busy"
        assert len(outbox.sent) == 1

    def test_a_callback_without_a_readable_letter_is_kept_in_the_dead_letter_queue(self):
        for body in ({}, {"sourceBody": "%"}, {"sourceBody": "e30="}, {"sourceBody": 7}):
            assert knock(body, query="callback=given-up").status_code == 489

    def test_the_user_s_own_callback_is_called_with_what_qstash_said(self, outbox, task):
        @task(name="watched", failure_callback="https://ops.example.com/failed")
        def watched():
            raise ValueError

        message = letter("watched")
        given_up(message, status=489)

        (envelope,) = outbox.sent
        assert envelope.url == "https://ops.example.com/failed"
        assert json.loads(envelope.body)["sourceMessageId"] == "msg_1"


class TestAnEtaAhead:
    def test_a_letter_that_came_early_is_sent_on_and_not_run(self, outbox, virtual):
        message = letter(NOTE, "paid", eta=iso(clock.time() + 100))

        assert knock(message).json()["status"] == "not yet"
        assert effects() == 0
        assert not TaskResult.rows.exists()
        assert outbox.sent[0].options["delay"] == "100s"

    def test_an_eta_beyond_the_plan_s_longest_delay_is_reached_in_hops(
        self, outbox, virtual, settings
    ):
        from tests.shop.tasks import note

        settings.DJANGO_QSTASH_MAX_DELAY = 1000
        note.apply_async(("paid",), countdown=2500)

        delays = []
        while not effects():
            envelope = outbox.sent.pop()
            delay = int(envelope.options.get("delay", "0s")[:-1])
            delays.append(delay)
            virtual.advance(delay)
            knock(envelope.body)

        assert delays == [1000, 1000, 500]


class TestSignalsAndHooks:
    def test_come_in_celery_s_order(self, task):
        seen = []

        class Hooked(Task):
            def before_start(self, task_id, args, kwargs):
                seen.append("before_start")

            def on_success(self, retval, task_id, args, kwargs):
                seen.append(f"on_success {retval} {TaskResult.objects.get().status}")

            def after_return(self, status, retval, task_id, args, kwargs, einfo):
                seen.append(f"after_return {status}")

        @task(name="hooked", base=Hooked)
        def hooked():
            seen.append("run")
            return 1

        receivers = []
        for name in ("task_received", "task_prerun", "task_success", "task_postrun"):

            def receiver(name=name, **kwargs):
                seen.append(name)

            receivers.append((getattr(signals, name), receiver))
            getattr(signals, name).connect(receiver)
        try:
            knock(letter("hooked"))
        finally:
            for signal, receiver in receivers:
                signal.disconnect(receiver)

        assert seen == [
            "task_received",
            "task_prerun",
            "before_start",
            "run",
            "on_success 1 SUCCESS",
            "task_success",
            "after_return SUCCESS",
            "task_postrun",
        ]

    def test_a_receiver_that_raises_is_logged_and_does_no_harm(self, caplog):
        def broken(**kwargs):
            raise RuntimeError("receiver")

        signals.task_success.connect(broken)
        try:
            assert knock(letter(NOTE, "paid")).status_code == 200
        finally:
            signals.task_success.disconnect(broken)
        assert "receiver" in caplog.text

    def test_a_hook_that_raises_is_logged_and_does_no_harm(self, task, caplog):
        class Broken(Task):
            def on_success(self, *args):
                raise RuntimeError("hook")

        @task(name="broken hook", base=Broken)
        def body():
            return 1

        assert knock(letter("broken hook")).status_code == 200
        assert "hook" in caplog.text


class TestWithoutTheResultsApp:
    @pytest.fixture(autouse=True)
    def without(self, settings):
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if app != "django_qstash.results"
        ]

    def test_a_delivery_runs_and_a_repetition_runs_again(self):
        message = letter(NOTE, "paid")

        assert knock(message).status_code == 200
        assert knock(message).status_code == 200
        assert effects() == 2

    def test_a_failure_still_ends_in_the_dead_letter_queue(self):
        assert knock(letter("tests.shop.tasks.fail")).status_code == 489

    def test_no_failure_callback_is_asked_for(self, outbox):
        from tests.shop.tasks import note

        note.delay("paid")

        assert "failure_callback" not in outbox.sent[0].options

    def test_reading_a_result_says_what_to_install(self):
        from django_qstash.exceptions import ResultsNotInstalled

        with pytest.raises(ResultsNotInstalled, match="INSTALLED_APPS"):
            _ = AsyncResult("x").state
