"""Time limits: a body that takes too long is told so, wherever it runs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from django_qstash import AsyncResult, SoftTimeLimitExceeded, Task, TimeLimitExceeded, shared_task
from django_qstash.exceptions import HardTimeLimit
from django_qstash.results.models import TaskResult
from django_qstash.tasks.limits import limited
from tests.door import knock, letter

pytestmark = pytest.mark.usefixtures("tidy_registry")


def busy(seconds):
    """Python code that goes on for so long: an exception can come between any two bytecodes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class TestABlock:
    def test_within_its_limits_is_left_alone(self):
        with limited(5, 5):
            busy(0.01)

    def test_over_its_soft_limit_feels_it(self):
        began = time.monotonic()
        with pytest.raises(SoftTimeLimitExceeded), limited(None, 0.05):
            busy(5)
        assert time.monotonic() - began < 2

    def test_may_clean_up_after_the_soft_limit_until_the_hard_one(self):
        cleaned = []

        def stubborn():
            try:
                busy(5)
            except Exception:
                cleaned.append(True)
                busy(5)

        with pytest.raises(HardTimeLimit), limited(0.2, 0.05):
            stubborn()
        assert cleaned == [True]

    def test_in_any_thread(self):
        felt = []

        def work():
            try:
                with limited(None, 0.05):
                    busy(5)
            except SoftTimeLimitExceeded:
                felt.append(True)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(5)
        assert felt == [True]

    def test_what_comes_after_it_is_never_hit(self):
        """Blocks that end just when their limit passes, many times over."""
        late = []
        for index in range(300):
            try:
                with limited(None, 0.002):
                    busy(0.0019 + (index % 7) * 0.00005)
            except SoftTimeLimitExceeded:
                pass
            try:
                busy(0.0003)
            except SoftTimeLimitExceeded:
                late.append(index)
        assert late == []


@pytest.mark.django_db(transaction=True)
class TestATask:
    def test_over_its_soft_limit_fails_with_it(self):
        shared_task(name="slow", soft_time_limit=0.05)(lambda: busy(5))
        message = letter("slow")

        assert knock(message).status_code == 489
        assert isinstance(AsyncResult(message.id).result, SoftTimeLimitExceeded)

    def test_may_catch_the_soft_limit(self):
        @shared_task(name="tidy", soft_time_limit=0.05)
        def tidy():
            try:
                busy(5)
            except SoftTimeLimitExceeded:
                return "tidied"

        message = letter("tidy")
        assert knock(message).status_code == 200
        assert AsyncResult(message.id).result == "tidied"

    def test_may_be_retried_for_it(self, outbox):
        shared_task(name="slow", soft_time_limit=0.05, autoretry_for=(SoftTimeLimitExceeded,))(
            lambda: busy(5)
        )
        assert knock(letter("slow")).json()["status"] == "retry"

    def test_over_its_hard_limit_has_failed_and_cannot_catch_that(self):
        seen = []

        @shared_task(name="stubborn", time_limit=0.1)
        def stubborn():
            while True:
                try:
                    busy(5)
                except Exception:
                    seen.append("caught")

        message = letter("stubborn")
        assert knock(message).status_code == 489
        error = AsyncResult(message.id).result
        assert isinstance(error, TimeLimitExceeded)
        assert seen == []

    @pytest.mark.parametrize("atomic", [False, True], ids=["by itself", "atomic"])
    def test_a_body_that_catches_everything_has_failed_all_the_same(self, atomic):
        told = []

        class Told(Task):
            abstract = True

            def on_success(self, *_):
                told.append("success")

            def on_failure(self, exc, *_):
                told.append(type(exc).__name__)

        @shared_task(name="deaf", base=Told, time_limit=0.1, atomic=atomic)
        def deaf():
            try:
                busy(5)
            except BaseException:
                busy(0.2)
            return "late"

        message = letter("deaf")
        knock(message)
        assert isinstance(AsyncResult(message.id).result, TimeLimitExceeded)
        assert told == ["TimeLimitExceeded"]

    def test_the_late_result_of_a_call_that_cannot_be_stopped_is_dropped(self):
        hooks = []

        @shared_task(name="blocked", time_limit=0.2)
        def blocked():
            # One call in C, that ends by itself long after the limit.
            threading.Event().wait(1.0)
            return "late"

        from django_qstash import signals

        def receiver(sender, exception, **kwargs):
            hooks.append(type(exception))

        signals.task_failure.connect(receiver)
        message = letter("blocked")
        thread = threading.Thread(target=lambda: answers.append(knock_and_close(message)))
        answers = []
        try:
            thread.start()
            time.sleep(0.6)
            at_the_limit = AsyncResult(message.id).state
            thread.join(10)
        finally:
            signals.task_failure.disconnect(receiver)

        assert at_the_limit == "FAILURE"
        assert answers == [489]
        assert isinstance(AsyncResult(message.id).result, TimeLimitExceeded)
        assert hooks == [TimeLimitExceeded]

    @pytest.mark.parametrize("kind", ["soft", "hard"])
    def test_an_async_body_is_cancelled(self, kind):
        cleaned = []

        async def body():
            try:
                await asyncio.sleep(30)
            finally:
                cleaned.append(True)

        limit = {"soft_time_limit": 0.05} if kind == "soft" else {"time_limit": 0.05}
        shared_task(name="async", **limit)(body)
        message = letter("async")

        assert knock(message).status_code == 489
        expected = SoftTimeLimitExceeded if kind == "soft" else TimeLimitExceeded
        assert isinstance(AsyncResult(message.id).result, expected)
        assert cleaned == [True]

    def test_limits_of_the_call_beat_those_of_the_task(self, outbox):
        @shared_task(name="told", bind=True, time_limit=100, soft_time_limit=90)
        def told(self):
            return [self.request.timelimit, self.request.time_limit, self.request.soft_time_limit]

        told.apply_async(time_limit=50, soft_time_limit=40)
        told.apply_async()
        first, second = (envelope.body for envelope in outbox.sent)
        for body in (first, second):
            assert knock(body).status_code == 200
        assert sorted(row.result for row in TaskResult.objects.all()) == [
            [[50, 40], 50, 40],
            [[100, 90], 100, 90],
        ]

    def test_a_soft_limit_over_the_hard_one_is_refused(self, outbox):
        told = shared_task(name="told")(lambda: None)
        with pytest.raises(ValueError, match="soft_time_limit"):
            told.apply_async(time_limit=1, soft_time_limit=2)
        with pytest.raises(ValueError, match="soft_time_limit"):
            shared_task(name="wrong", time_limit=1, soft_time_limit=2)(lambda: None)

    def test_qstash_waits_longer_than_the_hard_limit(self, outbox):
        shared_task(name="long", time_limit=100)(lambda: None).delay()
        assert outbox.sent[0].options["timeout"] == "110s"

    def test_eager_tasks_have_limits_too(self):
        result = shared_task(name="slow", soft_time_limit=0.05)(lambda: busy(5)).apply()
        assert isinstance(result.result, SoftTimeLimitExceeded)


def knock_and_close(message):
    from django.db import connections

    try:
        return knock(message).status_code
    finally:
        connections.close_all()
