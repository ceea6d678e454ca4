"""Tasks that are not to run: revoked, expired, or run at most once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_qstash import AsyncResult, GroupResult, TaskRevokedError, clock, shared_task, signals
from django_qstash.exceptions import WorkerLostError
from django_qstash.results.database import DatabaseStore
from django_qstash.results.models import TaskResult
from django_qstash.tasks.options import iso
from tests.door import knock, letter
from tests.shop import tasks
from tests.shop.models import Effect

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]

NOTE = "tests.shop.tasks.note"
store = DatabaseStore()


@pytest.fixture
def revoked_signals():
    seen = []

    def receiver(sender, request, terminated, signum, expired, **kwargs):
        seen.append((sender.name, request.id, expired))

    signals.task_revoked.connect(receiver)
    yield seen
    signals.task_revoked.disconnect(receiver)


def ran():
    return Effect.objects.exists()


class TestRevoking:
    def test_what_has_not_begun_does_not_run(self, revoked_signals):
        message = letter(NOTE, "x")
        AsyncResult(message.id).revoke()
        assert AsyncResult(message.id).state == "REVOKED"

        assert knock(message).json()["status"] == "revoked"
        assert not ran()
        result = AsyncResult(message.id)
        assert result.state == "REVOKED"
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get(timeout=1)
        assert revoked_signals == [(NOTE, message.id, False)]

    def test_it_stays_so_for_every_copy(self):
        message = letter(NOTE, "x")
        AsyncResult(message.id).revoke()
        for number in range(3):
            assert knock(message, message_id=f"msg_{number}").status_code == 200
        assert not ran()

    def test_the_message_is_withdrawn_where_it_is_known(self, outbox):
        tasks.note.delay("x").revoke()
        assert outbox.cancelled == ["msg_outbox_1"]

    def test_a_retry_that_waits_does_not_run(self, outbox):
        @shared_task(name="again", bind=True)
        def again(self):
            Effect.objects.create(name=str(self.request.retries))
            self.retry(countdown=10)

        message = letter("again")
        knock(message)
        AsyncResult(message.id).revoke()
        assert AsyncResult(message.id).state == "REVOKED"

        assert knock(message.but(retries=1)).json()["status"] == "revoked"
        assert [effect.name for effect in Effect.objects.all()] == ["0"]

    def test_what_has_ended_stays_as_it_is(self):
        message = letter(NOTE, "x")
        knock(message)
        AsyncResult(message.id).revoke()
        AsyncResult(message.id).revoke(terminate=True)
        assert AsyncResult(message.id).state == "SUCCESS"

    def test_what_runs_is_finished(self):
        @shared_task(name="running", bind=True)
        def running(self):
            AsyncResult(self.request.id).revoke()
            return "finished"

        message = letter("running")
        knock(message)
        assert AsyncResult(message.id).result == "finished"

    def test_with_terminate_what_it_comes_to_is_discarded(self):
        @shared_task(name="running", bind=True)
        def running(self):
            AsyncResult(self.request.id).revoke(terminate=True)
            return "finished"

        message = letter("running")
        assert knock(message).status_code == 200
        assert AsyncResult(message.id).state == "REVOKED"

    def test_the_id_can_be_used_again(self):
        AsyncResult("order-7").revoke()
        knock(letter(NOTE, "first", id="order-7"))
        knock(letter(NOTE, "second", id="order-7"))
        assert [effect.name for effect in Effect.objects.all()] == ["second"]

    def test_twice_is_once(self):
        AsyncResult("order-7").revoke()
        AsyncResult("order-7").revoke()
        assert TaskResult.objects.count() == 1

    def test_a_whole_group(self):
        letters = [letter(NOTE, str(number)) for number in range(3)]
        GroupResult("g", [AsyncResult(message.id) for message in letters]).revoke()
        for message in letters:
            knock(message)
        assert not ran()


class TestExpiring:
    def test_what_comes_too_late_does_not_run(self, virtual, revoked_signals):
        message = letter(NOTE, "x", expires=iso(clock.time() + 10))
        virtual.advance(11)

        assert knock(message).json()["status"] == "revoked"
        assert not ran()
        with pytest.raises(TaskRevokedError, match="expired"):
            AsyncResult(message.id).get(timeout=1)
        assert revoked_signals == [(NOTE, message.id, True)]

    def test_what_comes_in_time_runs(self, virtual):
        message = letter(NOTE, "x", expires=iso(clock.time() + 10))
        virtual.advance(9)
        knock(message)
        assert ran()

    @pytest.mark.parametrize("kind", ["seconds", "datetime", "task"])
    def test_it_may_be_said_in_seconds_or_as_an_instant_by_call_or_task(
        self, outbox, virtual, kind
    ):
        expiring = shared_task(name="expiring", expires=10 if kind == "task" else None)(
            lambda: None
        )
        given = {
            "seconds": {"expires": 10},
            "datetime": {"expires": clock.now() + timedelta(seconds=10)},
            "task": {},
        }[kind]
        expiring.apply_async(**given)
        virtual.advance(11)
        assert knock(outbox.sent[0].body).json()["status"] == "revoked"

    def test_a_retry_keeps_it(self, outbox, virtual):
        @shared_task(name="again", bind=True)
        def again(self):
            self.retry(countdown=20)

        knock(letter("again", expires=iso(clock.time() + 10)))
        virtual.advance(20)
        assert knock(outbox.sent[0].body).json()["status"] == "revoked"


class TestAtMostOnce:
    @pytest.mark.parametrize("option", [{"acks_late": False}, {"reject_on_worker_lost": False}])
    def test_a_task_that_says_so_is_not_run_again_after_a_crash(self, virtual, option):
        shared_task(name="careful", **option)(lambda: Effect.objects.create(name="x"))
        message = letter("careful")
        store.claim(message, message_id="msg_1")
        virtual.advance(61)

        assert knock(message, retried=1).status_code == 489
        assert isinstance(AsyncResult(message.id).result, WorkerLostError)
        assert not ran()

    def test_unset_it_is_run_again(self, virtual):
        message = letter(NOTE, "x")
        store.claim(message, message_id="msg_1")
        virtual.advance(61)
        knock(message, retried=1)
        assert ran()

    def test_its_retries_run(self, outbox):
        @shared_task(name="careful", acks_late=False, bind=True)
        def careful(self):
            if self.request.retries == 0:
                self.retry(countdown=0)
            return "second"

        message = letter("careful")
        knock(message)
        knock(outbox.sent[0].body)
        assert AsyncResult(message.id).result == "second"

    def test_a_locked_database_fails_it(self):
        from django.db import OperationalError

        @shared_task(name="careful", acks_late=False)
        def careful():
            raise OperationalError("database is locked")

        message = letter("careful")
        assert knock(message).status_code == 489
        assert isinstance(AsyncResult(message.id).result, OperationalError)


class TestUpdateState:
    def test_progress_is_seen_while_it_runs(self):
        seen = []

        @shared_task(name="progress", bind=True)
        def progress(self):
            self.update_state(state="PROGRESS", meta={"done": 3})
            result = AsyncResult(self.request.id)
            seen.append((result.state, result.info, result.ready()))
            return "done"

        message = letter("progress")
        knock(message)
        assert seen == [("PROGRESS", {"done": 3}, False)]
        assert AsyncResult(message.id).result == "done"

    def test_a_final_state_stays(self):
        message = letter(NOTE, "x")
        knock(message)
        tasks.note.update_state(task_id=message.id, state="PROGRESS", meta={})
        assert AsyncResult(message.id).state == "SUCCESS"

    def test_outside_of_a_task_it_needs_an_id(self):
        with pytest.raises(TypeError, match="task_id"):
            tasks.note.update_state(state="X")

    def test_in_an_eager_task_it_does_nothing(self):
        eager = shared_task(name="eager", bind=True)(lambda self: self.update_state(state="X"))
        assert eager.apply().state == "SUCCESS"

    def test_in_a_task_that_is_called_as_a_function_it_does_nothing(self):
        called = shared_task(name="called", bind=True)(lambda self: self.update_state(state="X"))
        assert called() is None
