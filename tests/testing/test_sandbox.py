"""The QStash of a test: what was sent, what is delivered and when, duplicates and crashes."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.test import TestCase, override_settings

from django_qstash import AsyncResult, clock, exceptions, group, shared_task
from django_qstash.exceptions import PublishError
from django_qstash.tasks.registry import tasks as registry
from django_qstash.testing import QStashMixin, QStashSandbox
from django_qstash.transport import get_transport
from tests.shop.models import Effect
from tests.shop.tasks import add, fail, note

pytestmark = pytest.mark.django_db


@pytest.fixture
def qstash():
    with QStashSandbox() as sandbox:
        yield sandbox


class TestSent:
    def test_nothing_runs_before_it_is_told_to(self, qstash):
        result = note.delay("x")

        assert not Effect.objects.exists()
        assert result.state == "PENDING"
        assert len(qstash.deliver_all()) == 1
        assert result.get(timeout=0) == "x"

    def test_a_message_is_found_by_task_and_arguments(self, qstash):
        add.apply_async((1, 2), countdown=60, queue="mail", label="a")
        add.delay(3, y=4)

        sent = qstash.assert_sent(add, 1, 2)
        assert (sent.args, sent.kwargs, sent.delay, sent.queue) == ([1, 2], {}, 60, "mail")
        assert sent.options["label"] == "a"
        assert qstash.assert_sent("tests.shop.tasks.add").kwargs == {"y": 4}
        assert [str(each) for each in qstash.sent_to(add)] == [
            "tests.shop.tasks.add(1, 2)",
            "tests.shop.tasks.add(3, y=4)",
        ]

    def test_what_travels_as_json_is_compared_as_json(self, qstash):
        note.delay((1, {"a": (2,)}))

        qstash.assert_sent(note, (1, {"a": (2,)}))

    def test_what_was_not_sent_is_told_with_what_was(self, qstash):
        add.delay(1, 2)

        with pytest.raises(AssertionError, match=r"with these arguments. Sent was: .*add\(1, 2\)"):
            qstash.assert_sent(add, 2, 1)
        with pytest.raises(AssertionError, match=r"note was not sent\. Sent"):
            qstash.assert_sent(note)
        qstash.assert_not_sent(add, 2, 1)
        qstash.assert_not_sent(note)
        with pytest.raises(AssertionError, match="It was sent"):
            qstash.assert_not_sent(add)
        with pytest.raises(AssertionError, match="Something was sent"):
            qstash.assert_nothing_sent()

    def test_nothing_was_sent(self, qstash):
        qstash.assert_nothing_sent()

    def test_an_equal_letter_is_one(self, qstash):
        add.apply_async((1, 2), deduplication_id="same")
        add.apply_async((1, 2), deduplication_id="same")

        assert len(qstash.sent) == 1

    def test_eager_tasks_are_sent_here(self, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        with QStashSandbox() as qstash:
            add.delay(1, 2)
            qstash.assert_sent(add, 1, 2)

    def test_while_qstash_is_down(self, qstash):
        qstash.is_down = True
        with pytest.raises(PublishError, match="it is down"):
            add.delay(1, 2)

        qstash.assert_nothing_sent()


class TestTime:
    def test_a_delayed_message_comes_at_its_time(self, qstash):
        result = add.apply_async((1, 2), countdown=3600)

        assert qstash.advance(3599) == []
        assert not result.ready()
        assert len(qstash.advance(1)) == 1
        assert result.get(timeout=0) == 3

    def test_deliver_all_moves_on_to_it(self, qstash):
        before = clock.time()
        result = add.apply_async((1, 2), countdown=3600)
        qstash.deliver_all()

        assert clock.time() - before == pytest.approx(3600, abs=1)
        assert result.get(timeout=0) == 3

    def test_however_far_away_it_is(self, qstash):
        result = add.apply_async((1, 2), countdown=90 * 24 * 3600)
        qstash.deliver_all()

        assert result.get(timeout=0) == 3

    def test_deliver_due_does_not(self, qstash):
        add.apply_async((1, 2), countdown=3600)
        add.delay(3, 4)

        assert len(qstash.deliver_due()) == 1

    def test_who_waits_for_a_result_gets_it(self, qstash):
        assert add.apply_async((1, 2), countdown=5).get(timeout=10) == 3

    def test_who_waits_too_short_does_not(self, qstash):
        with pytest.raises(exceptions.TimeoutError):
            add.apply_async((1, 2), countdown=50).get(timeout=10)

    def test_retries_come_when_the_task_says(self, qstash):
        times = []

        @shared_task(name="stubborn", bind=True, max_retries=2)
        def stubborn(self):
            times.append(clock.time())
            raise self.retry(countdown=100)

        try:
            result = stubborn.delay()
            qstash.deliver_all()
        finally:
            registry.unregister("stubborn")
        assert [round(b - a) for a, b in zip(times, times[1:], strict=False)] == [100, 100]
        assert result.state == "FAILURE"
        assert [each.retries for each in qstash.sent] == [0, 1, 2]


class TestDeliveries:
    def test_a_failure_is_in_the_dead_letter_queue(self, qstash):
        fail.delay("no")
        (delivered,) = [each for each in qstash.deliver_all() if "?" not in each.url]

        assert delivered.status == 489
        assert [each.name for each in qstash.failed] == ["tests.shop.tasks.fail"]

    def test_everything_twice(self, qstash):
        note.delay("once")
        delivered = qstash.deliver_all(copies=2)

        assert [each.status for each in delivered] == [200, 200]
        assert Effect.objects.count() == 1

    def test_the_knobs_of_the_embedded_server(self):
        with QStashSandbox(faults={"duplicate": 1.0, "drop_ack": 0.5, "seed": 1}) as qstash:
            group([note.s(f"n{i}") for i in range(4)]).apply_async()
            qstash.deliver_all()

        assert len(qstash.deliveries) > 8
        assert Effect.objects.count() == 4

    def test_a_publish_that_is_refused(self, qstash):
        qstash.faults(refuse=1.0, refuse_with="500")
        with pytest.raises(PublishError, match="internal server error"):
            add.delay(1, 2)

    def test_an_address_elsewhere_is_not_called(self, qstash):
        fail.apply_async(("no",), failure_callback="https://elsewhere.example.com/told")
        qstash.deliver_all()

        assert [attempt.message.url for attempt in qstash.outside] == [
            "https://elsewhere.example.com/told"
        ]

    def test_delivered_within_the_call(self):
        with QStashSandbox(deliver="at once") as qstash:
            result = (add.s(1, 2) | add.s(3)).apply_async()
            assert result.get(timeout=0) == 6
            assert len(qstash.deliveries) == 2

    def test_cancelled_at_qstash_it_is_not_delivered(self, qstash):
        result = note.apply_async(("x",), countdown=60)
        result.revoke()
        qstash.deliver_all()

        assert qstash.deliveries == []

    def test_deliveries_say_where_they_could_have_died(self, qstash):
        note.delay("x")
        (delivered,) = qstash.deliver_all()

        # The claim, the task's own row, the record, and the moment before the answer.
        assert delivered.steps == 4


class TestCrashes:
    @pytest.mark.parametrize("step", [1, 2, 3, 4])
    def test_wherever_it_dies_the_task_is_run_to_its_end(self, qstash, step):
        result = note.delay("x")
        delivered = qstash.deliver_all(crash_at=step)

        assert [each.crashed for each in delivered][:2] == [True, False]
        assert delivered[0].status == 0
        assert result.get(timeout=0) == "x"
        # Between its own write and the record, it cannot know that it was done.
        assert Effect.objects.count() == {1: 1, 2: 2, 3: 1, 4: 1}[step]

    @pytest.mark.parametrize("step", range(1, 8))
    def test_a_chain_goes_on(self, qstash, step):
        result = (add.s(1, 2) | add.s(3) | add.s(4)).apply_async()
        qstash.deliver_all(crash_at=step)

        assert result.get(timeout=0) == 10

    def test_the_first_step_is_number_1(self, qstash):
        add.delay(1, 2)
        with pytest.raises(ValueError, match="number 1"):
            qstash.deliver_all(crash_at=0)


class TestAround:
    def test_outside_there_is_none(self):
        before = get_transport()
        with QStashSandbox() as qstash:
            assert clock.is_virtual()
            assert get_transport() is not before
        assert not clock.is_virtual()
        with pytest.raises(RuntimeError, match="open already"), qstash, qstash:
            pass

    def test_one_inside_another(self, qstash):
        with QStashSandbox() as inner:
            add.delay(1, 2)
        add.delay(3, 4)

        assert ([s.args for s in inner.sent], [s.args for s in qstash.sent]) == ([[1, 2]], [[3, 4]])

    def test_it_needs_no_settings(self):
        unset = {
            "QSTASH_TOKEN": "",
            "QSTASH_CURRENT_SIGNING_KEY": "",
            "QSTASH_NEXT_SIGNING_KEY": "",
            "DJANGO_QSTASH_DOMAIN": "",
        }
        with override_settings(**unset), QStashSandbox() as qstash:
            result = add.delay(1, 2)
            qstash.deliver_all()
            assert result.get(timeout=0) == 3

    def test_a_site_below_the_root_of_its_domain(self, settings):
        settings.DJANGO_QSTASH_DOMAIN = "https://example.com/shop"
        with QStashSandbox() as qstash:
            assert add.delay(1, 2).get(timeout=0.1) == 3
            assert qstash.deliveries[0].url == "https://example.com/shop/qstash/webhook/"

    def test_a_word_it_does_not_know(self):
        with pytest.raises(ValueError, match="neither"):
            QStashSandbox(deliver="sometimes")


class TestOnCommit:
    def test_what_waits_for_the_commit_is_sent_in_a_testcase_too(self, qstash):
        with transaction.atomic():
            add.delay_on_commit(1, 2)
            qstash.assert_nothing_sent()

        qstash.assert_sent(add, 1, 2)

    def test_rolled_back_it_is_not(self, qstash):
        with transaction.atomic():
            add.delay_on_commit(1, 2)
            transaction.set_rollback(True)

        qstash.deliver_all()
        qstash.assert_nothing_sent()

    def test_it_is_sent_once_whoever_else_captures(
        self, qstash, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            add.delay_on_commit(1, 2)

        assert len(qstash.sent) == 1

    def test_with_the_outbox_as_well(self, qstash, outbox_app):
        with transaction.atomic():
            add.delay(1, 2)
            qstash.assert_nothing_sent()
        note.delay("x")

        qstash.deliver_all()
        assert [each.name for each in qstash.sent] == [
            "tests.shop.tasks.note",
            "tests.shop.tasks.add",
        ]
        assert not outbox_app.objects.exists()

    def test_what_the_outbox_kept_is_delivered_when_qstash_is_back(self, qstash, outbox_app):
        qstash.is_down = True
        result = add.delay(1, 2)
        qstash.deliver_all()
        assert not result.ready()
        qstash.is_down = False
        qstash.advance(60)
        qstash.deliver_all()

        assert result.get(timeout=0) == 3


class MixinTests(QStashMixin, TestCase):
    qstash_options = {"deliver": "at once"}

    def test_it_is_there(self):
        assert add.delay(1, 2).get(timeout=0) == 3
        assert AsyncResult(self.qstash.sent[0].task_id).state == "SUCCESS"


class TestMoments:
    def test_a_message_comes_again(self, qstash):
        result = note.delay("x")
        (delivered,) = qstash.deliver_all()

        qstash.again(delivered)

        assert [each.status for each in qstash.deliveries] == [200, 200]
        assert Effect.objects.count() == 1
        assert result.get(timeout=0) == "x"

    def test_nothing_comes_again_where_nothing_came(self, qstash):
        with pytest.raises(RuntimeError, match="No delivery is at work"):
            qstash.again()

    def test_a_delivery_is_overtaken_by_itself(self, qstash):
        moments = []

        def overtake(where):
            moments.append((qstash.depth, where[:12]))
            if len(moments) == 1:
                qstash.again()

        qstash.on_moment = overtake
        result = note.delay("x")
        qstash.deliver_all()

        assert result.get(timeout=0) == "x"
        assert Effect.objects.count() == 1
        assert {depth for depth, _ in moments} == {1, 2}
        assert (2, "before a pub") in moments

    def test_what_others_do_meanwhile_is_no_moment_of_the_delivery(self, qstash):
        moments = []

        def watch(where):
            moments.append(where)
            if len(moments) == 1:
                with qstash.aside():
                    Effect.objects.create(name="another's")

        qstash.on_moment = watch
        note.delay("x")
        (delivered,) = qstash.deliver_all()

        assert len(moments) == delivered.steps
        assert Effect.objects.filter(name="another's").exists()

    def test_the_dead_write_and_send_nothing_more(self, qstash):
        @shared_task(name="sandbox.tidy")
        def tidy():
            try:
                Effect.objects.create(name="work")
            finally:
                Effect.objects.create(name="tidied")

        qstash.on_moment = lambda where: qstash.die("here") if "shop_effect" in where else None
        tidy.delay()
        (delivered,) = qstash.deliver_due()

        assert delivered.crashed
        assert [effect.name for effect in Effect.objects.all()] == ["work"]
        registry.unregister("sandbox.tidy")
