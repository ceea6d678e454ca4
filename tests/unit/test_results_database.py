"""The delivery protocol's memory, statement by statement: sections A and B."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections

from django_qstash import clock
from django_qstash.results.database import DatabaseStore
from django_qstash.results.models import PastRun, TaskResult
from django_qstash.serialization import dumps
from django_qstash.tasks.store import Busy, Claimed, Outcome, Recorded, Stale, Written
from tests.door import letter

NAME = "tests.shop.tasks.add"
SUCCESS = Outcome(status="SUCCESS", result=dumps(5))

store = DatabaseStore()


def claim(message, message_id="msg_1"):
    return store.claim(message, message_id=message_id)


def record(message, claimed, outcome=SUCCESS):
    return store.record(message, claimed.token, outcome, "msg_1")


@pytest.mark.django_db
class TestOneRun:
    def test_the_first_to_come_has_it(self):
        assert isinstance(claim(letter(NAME, 2, 3)), Claimed)

    def test_the_row_shows_what_is_under_way(self):
        message = letter(NAME, 2, 3, kwargs={"z": 1}, parent_id="p", root_id="r", queue="mail")
        claim(message)

        row = TaskResult.objects.get()
        assert (row.task_id, row.status, row.task_name) == (message.id, "STARTED", NAME)
        assert (row.args, row.kwargs) == ([2, 3], {"z": 1})
        assert (row.parent_id, row.root_id, row.queue) == ("p", "r", "mail")
        assert row.date_started is not None
        assert row.date_done is None

    def test_the_second_to_come_while_the_first_is_at_work_is_told_for_how_long(self, settings):
        settings.DJANGO_QSTASH_LEASE = 60
        message = letter(NAME)
        claim(message)

        verdict = claim(message)

        assert isinstance(verdict, Busy)
        assert 55 < verdict.seconds <= 60

    def test_what_is_recorded_is_not_run_again(self):
        message = letter(NAME)
        record(message, claim(message))

        assert claim(message) == Recorded("SUCCESS", (), "msg_1")

    def test_what_follows_is_kept_with_the_outcome(self):
        message, next_letter = letter(NAME), letter(NAME, 7)
        outcome = Outcome(status="SUCCESS", follow=[next_letter.as_dict()])
        record(message, claim(message), outcome)

        assert claim(message).follow == [next_letter.as_dict()]

    def test_a_lease_that_ran_out_is_taken_over_and_counted(self, virtual):
        message = letter(NAME)
        first = claim(message)
        virtual.advance(61)

        second = claim(message)

        assert isinstance(second, Claimed)
        assert (first.attempts, second.attempts) == (1, 2)

    def test_who_lost_the_lease_records_nothing(self, virtual):
        message = letter(NAME)
        first = claim(message)
        virtual.advance(61)
        second = claim(message)

        assert record(message, first, Outcome(status="FAILURE")) is None
        assert record(message, second) == Written(())
        assert TaskResult.objects.get().status == "SUCCESS"

    def test_a_final_record_is_never_overwritten(self):
        message = letter(NAME)
        claimed = claim(message)
        record(message, claimed)

        assert record(message, claimed, Outcome(status="FAILURE")) is None
        assert TaskResult.objects.get().status == "SUCCESS"

    def test_renewal_lengthens_the_lease_and_fails_once_it_is_lost(self, virtual):
        message = letter(NAME)
        first = claim(message)
        virtual.advance(40)
        assert store.renew(message, first.token) is True
        virtual.advance(40)
        assert isinstance(claim(message), Busy)
        virtual.advance(21)
        claim(message)

        assert store.renew(message, first.token) is False

    def test_what_is_given_back_can_be_taken_at_once(self):
        message = letter(NAME)
        store.release(message, claim(message).token)

        assert claim(message).attempts == 1


@pytest.mark.django_db
class TestRetries:
    def test_the_next_letter_is_taken_once_a_retry_is_recorded(self):
        message = letter(NAME)
        record(message, claim(message), Outcome(status="RETRY"))

        verdict = claim(message.but(retries=1))

        assert isinstance(verdict, Claimed)
        assert verdict.attempts == 1
        assert TaskResult.objects.get().retries == 1

    def test_the_next_letter_is_busy_while_the_first_is_not_recorded(self):
        message = letter(NAME)
        claim(message)

        assert isinstance(claim(message.but(retries=1)), Busy)

    def test_the_next_letter_is_dropped_once_the_run_is_over(self):
        message = letter(NAME)
        record(message, claim(message))

        assert claim(message.but(retries=1)) == Stale()

    def test_a_redelivery_of_the_letter_before_finds_the_retry(self):
        message = letter(NAME)
        follow = [message.but(retries=1).as_dict()]
        record(message, claim(message), Outcome(status="RETRY", follow=follow))

        assert claim(message) == Recorded("RETRY", follow, "msg_1")

    def test_a_late_letter_of_an_earlier_try_is_stale(self):
        message = letter(NAME)
        record(message, claim(message), Outcome(status="RETRY"))
        claim(message.but(retries=1))

        assert claim(message) == Stale()

    def test_tries_of_the_next_letter_are_counted_anew(self, virtual):
        message = letter(NAME)
        record(message, claim(message), Outcome(status="RETRY"))
        claim(message.but(retries=1))
        virtual.advance(61)

        assert claim(message.but(retries=1)).attempts == 2


@pytest.mark.django_db
class TestOneIdAppliedTwice:
    def test_another_run_takes_the_row_once_the_first_is_over(self):
        first = letter(NAME, 1, id="order-7")
        record(first, claim(first))
        second = letter(NAME, 2, id="order-7")

        assert isinstance(claim(second), Claimed)
        row = TaskResult.objects.get()
        assert (row.status, row.args, row.result, row.date_done) == ("STARTED", [2], None, None)

    def test_a_late_duplicate_of_the_first_run_is_still_known(self):
        first = letter(NAME, 1, id="order-7")
        record(first, claim(first))
        second = letter(NAME, 2, id="order-7")
        record(second, claim(second))

        assert claim(first) == Recorded("SUCCESS", (), "msg_1")
        assert TaskResult.objects.get().args == [2]

    def test_the_other_run_waits_while_the_first_is_at_work(self):
        first = letter(NAME, id="order-7")
        claim(first)

        assert isinstance(claim(letter(NAME, id="order-7")), Busy)

    def test_a_run_that_crashed_is_pushed_out_and_comes_back_with_its_count(self, virtual):
        first = letter(NAME, id="order-7")
        claim(first)
        virtual.advance(61)
        second = letter(NAME, id="order-7")
        record(second, claim(second))

        assert claim(first).attempts == 2
        assert PastRun.objects.get().run == second.run

    def test_a_retry_of_a_run_that_was_pushed_out_goes_on(self):
        first = letter(NAME, id="order-7")
        record(first, claim(first), Outcome(status="RETRY"))
        second = letter(NAME, id="order-7")
        record(second, claim(second))

        again = claim(first.but(retries=1))

        assert isinstance(again, Claimed)
        assert again.attempts == 1


@pytest.mark.django_db
class TestWhatIsStored:
    @pytest.mark.parametrize("task_id", ["a", "A", "ä", "Ä", "ß", "ss", "é", "e\u0301", "ﬁ"])
    def test_ids_compare_exactly(self, task_id):
        others = [i for i in ("a", "A", "ä", "Ä", "ß", "ss", "é", "e\u0301", "ﬁ") if i != task_id]
        for other in others:
            claim(letter(NAME, id=other))

        assert store.fetch(task_id) is None
        assert isinstance(claim(letter(NAME, id=task_id)), Claimed)
        assert store.fetch(task_id).task_id == task_id

    @pytest.mark.parametrize(
        "value",
        [
            "\0",
            "a\0b",
            "\ud800",
            float("inf"),
            10**30,
            -0.0,
            "💶",
            {"a": [None, True]},
            "x" * 70_000,
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_every_value_comes_back_as_it_went_in(self, value):
        message = letter(NAME, value, kwargs={"k": value})
        record(message, claim(message), Outcome(status="SUCCESS", result=dumps(value)))

        found = store.fetch(message.id)
        assert (found.args, found.kwargs, found.result) == ([value], {"k": value}, value)

    def test_a_traceback_may_hold_anything(self):
        message = letter(NAME)
        record(message, claim(message), Outcome(status="FAILURE", traceback="a\0b\ud800💶"))

        assert store.fetch(message.id).traceback == "a\\0b\\ud800💶"

    def test_a_task_that_ignores_its_result_is_remembered_without_arguments(self):
        message = letter(NAME, "secret", ignore_result=True)
        record(message, claim(message), Outcome(status="SUCCESS"))

        row = TaskResult.objects.get()
        assert (row.args, row.kwargs, row.result) == (None, None, None)
        assert isinstance(claim(message), Recorded)

    def test_what_is_forgotten_is_seen_by_nobody_and_still_does_not_run(self):
        message = letter(NAME)
        record(message, claim(message))
        store.forget(message.id)

        assert store.fetch(message.id) is None
        assert not TaskResult.objects.exists()
        assert isinstance(claim(message), Recorded)


def in_threads(count, work):
    """Run ``work(index)`` in as many threads at once; what each returned or raised."""
    barrier = threading.Barrier(count)
    outcomes = [None] * count

    def run(index):
        try:
            barrier.wait(10)
            outcomes[index] = work(index)
        except BaseException as error:
            outcomes[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    """Real threads, real connections, on whichever database the suite runs on."""

    def test_one_of_many_claims_wins(self):
        for _ in range(10):
            message = letter(NAME)
            verdicts = in_threads(4, lambda _, message=message: claim(message))

            assert sorted(type(v).__name__ for v in verdicts) == ["Busy"] * 3 + ["Claimed"]

    def test_one_of_many_takes_over_a_lease_that_ran_out(self, settings):
        settings.DJANGO_QSTASH_LEASE = 0.001
        for _ in range(10):
            message = letter(NAME)
            claim(message)
            clock.sleep(0.02)
            settings.DJANGO_QSTASH_LEASE = 60
            verdicts = in_threads(4, lambda _, message=message: claim(message))
            settings.DJANGO_QSTASH_LEASE = 0.001

            assert sorted(type(v).__name__ for v in verdicts) == ["Busy"] * 3 + ["Claimed"]

    def test_one_of_many_runs_of_one_id_has_the_row(self):
        for _ in range(10):
            first = letter(NAME, id=letter(NAME).id)
            record(first, claim(first))
            runs = [letter(NAME, id=first.id) for _ in range(4)]
            verdicts = in_threads(4, lambda i, runs=runs: claim(runs[i]))

            assert sorted(type(v).__name__ for v in verdicts) == ["Busy"] * 3 + ["Claimed"]
            assert claim(first) == Recorded("SUCCESS", (), "msg_1")

    def test_one_of_two_holders_records(self, settings):
        for _ in range(10):
            message = letter(NAME)
            settings.DJANGO_QSTASH_LEASE = 0.001
            first = claim(message)
            clock.sleep(0.02)
            settings.DJANGO_QSTASH_LEASE = 60
            second = claim(message)
            outcomes = in_threads(
                2, lambda i, m=message, c=(first, second): record(m, c[i], SUCCESS)
            )

            assert outcomes == [None, Written(())]

    def test_the_lease_is_told_by_the_database_s_clock(self):
        message = letter(NAME)
        claim(message)

        row = TaskResult.objects.get(task_id=message.id)
        assert abs(row.lease_until / 1000 - 60 - clock.time()) < 5
        assert connection.vendor in ("sqlite", "postgresql", "mysql")
