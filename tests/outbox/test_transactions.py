"""A letter inside a transaction is part of it: sent after the commit, gone with a rollback."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from django_qstash import AsyncResult, chain, chord, group, shared_task
from django_qstash.exceptions import EncodeError, OptionError
from django_qstash.messages import TaskMessage, decode
from django_qstash.results.models import TaskResult
from django_qstash.signals import after_task_publish
from tests.shop.models import Effect
from tests.shop.tasks import add, note

pytestmark = pytest.mark.django_db(transaction=True)


def sent(qstash):
    return [TaskMessage.from_dict(decode(envelope.body)) for envelope in qstash.sent]


class TestOneLetter:
    def test_it_waits_for_the_commit(self, rows, qstash):
        with transaction.atomic():
            result = add.delay(2, 3)
            assert (qstash.sent, rows.count()) == ([], 1)

        assert [letter.id for letter in sent(qstash)] == [result.id]
        assert rows.count() == 0

    def test_a_rollback_takes_it_along(self, rows, qstash):
        with transaction.atomic():
            result = add.delay(2, 3)
            transaction.set_rollback(True)

        assert (qstash.sent, rows.count()) == ([], 0)
        assert not AsyncResult(result.id).exists()

    def test_a_savepoint_that_is_rolled_back_takes_only_its_own_along(self, rows, qstash):
        with transaction.atomic():
            first = add.delay(1, 1)
            with transaction.atomic():
                add.delay(2, 2)
                transaction.set_rollback(True)
            last = add.delay(3, 3)

        assert [letter.id for letter in sent(qstash)] == [first.id, last.id]

    def test_the_first_of_all_rolled_back_and_another_after_it(self, rows, qstash):
        with transaction.atomic():
            with transaction.atomic():
                add.delay(2, 2)
                transaction.set_rollback(True)
            last = add.delay(3, 3)

        assert [letter.id for letter in sent(qstash)] == [last.id]

    def test_a_transaction_that_was_rolled_back_does_not_spoil_the_next(self, rows, qstash):
        with transaction.atomic():
            add.delay(2, 2)
            transaction.set_rollback(True)
        with transaction.atomic():
            result = add.delay(3, 3)

        assert [letter.id for letter in sent(qstash)] == [result.id]

    def test_outside_of_any_transaction_it_leaves_at_once(self, rows, qstash):
        result = add.delay(2, 3)

        assert [letter.id for letter in sent(qstash)] == [result.id]
        assert result.message_id
        assert rows.count() == 0

    def test_what_cannot_be_sent_is_refused_at_the_call(self, rows, qstash):
        with transaction.atomic():
            with pytest.raises(EncodeError, match="Argument 'x'"):
                add.delay(object(), 3)
            assert rows.count() == 0

    def test_its_delay_is_counted_from_the_call(self, rows, qstash):
        with transaction.atomic():
            result = add.apply_async((2, 3), countdown=3600, deduplication_id="mine")

        (envelope,) = qstash.sent
        assert envelope.options["delay"] == "3600s"
        assert envelope.options["deduplication_id"] == "mine"
        assert result.message_id is None

    def test_its_publication_is_told_when_it_happens(self, rows, qstash):
        told = []

        def receiver(sender, headers, **_):
            told.append((sender, headers["id"], len(qstash.sent)))

        after_task_publish.connect(receiver)
        try:
            with transaction.atomic():
                result = add.delay(2, 3)
                assert told == []
        finally:
            after_task_publish.disconnect(receiver)

        assert told == [("tests.shop.tasks.add", result.id, 1)]


class TestPending:
    def test_a_row_of_the_results_is_written_with_it(self, rows, qstash):
        with transaction.atomic():
            result = add.apply_async((2, 3), queue="mail")

        record = TaskResult.objects.get(task_id=result.id)
        assert (record.status, record.task_name) == ("PENDING", "tests.shop.tasks.add")
        assert (record.args, record.queue, record.attempts) == ([2, 3], "mail", 0)

    def test_the_delivery_takes_it(self, rows, loopback):
        result = add.delay(2, 3)
        with transaction.atomic():
            second = add.delay(3, 4)

        assert (result.get(timeout=0), second.get(timeout=0)) == (5, 7)
        assert set(TaskResult.objects.values_list("attempts", flat=True)) == {1}

    def test_revoked_before_the_commit_it_never_runs(self, rows, loopback):
        with transaction.atomic():
            result = note.delay("revoked")
            result.revoke()

        assert result.state == "REVOKED"
        assert not Effect.objects.filter(name="revoked").exists()

    def test_an_ignored_result_shows_no_arguments(self, rows, qstash):
        result = add.apply_async((2, 3), ignore_result=True)

        assert TaskResult.objects.get(task_id=result.id).args is None

    def test_inspect_shows_what_has_not_begun(self, rows, qstash):
        from django_qstash import current_app

        result = add.delay(2, 3)

        (tasks,) = current_app.control.inspect().reserved().values()
        assert [task["id"] for task in tasks] == [result.id]


class TestCanvases:
    def test_a_group_leaves_in_one_batch(self, rows, qstash):
        with transaction.atomic():
            group(add.s(i, i) for i in range(5)).apply_async()
            group([add.s(9, i) for i in range(5)]).apply_async()
            assert (qstash.sent, rows.count()) == ([], 10)

        assert len(qstash.sent) == 10
        assert qstash.batches == [10]

    def test_a_chain_and_a_chord_go_all_the_way(self, rows, loopback):
        with transaction.atomic():
            chained = chain(add.s(1, 1), add.s(1)).apply_async()
            joined = chord([add.s(1, 1), add.s(2, 2)])(total.s())

        assert chained.get(timeout=0) == 3
        assert joined.get(timeout=0) == 6

    def test_a_chord_of_a_generator(self, rows, loopback, settings):
        settings.DJANGO_QSTASH_BATCH_SIZE = 2
        with transaction.atomic():
            joined = chord((add.s(i, i) for i in range(5)), total.s()).apply_async()
            assert loopback.answers == []

        assert joined.get(timeout=0) == 20

    def test_a_generator_that_breaks_off_sends_nothing(self, rows, qstash, settings):
        settings.DJANGO_QSTASH_BATCH_SIZE = 2

        def broken():
            yield from (add.s(i, i) for i in range(5))
            raise ValueError("no more paper")

        with pytest.raises(ValueError, match="paper"):
            group(broken()).apply_async()

        assert (qstash.sent, rows.count()) == ([], 0)

    def test_an_empty_generator_s_body_waits_for_the_commit_too(self, rows, loopback):
        with transaction.atomic():
            joined = chord((add.s(i, i) for i in range(0)), total.s()).apply_async()
            assert loopback.answers == []

        assert joined.get(timeout=0) == 0


class TestOnCommit:
    def test_with_the_outbox_the_letter_is_written_in_the_transaction(self, rows, qstash):
        with transaction.atomic():
            assert add.delay_on_commit(2, 3) is None
            add.apply_async_on_commit((2, 3), countdown=5)
            assert (qstash.sent, rows.count()) == ([], 2)

        assert [letter.args for letter in sent(qstash)] == [[2, 3], [2, 3]]

    def test_outside_of_any_transaction_it_leaves_at_once(self, rows, qstash):
        add.delay_on_commit(2, 3)

        assert len(qstash.sent) == 1


class TestOnCommitWithoutTheOutbox:
    def test_it_is_sent_after_the_commit(self, outbox):
        with transaction.atomic():
            add.delay_on_commit(2, 3)
            add.apply_async_on_commit((4,), {"y": 5}, queue="mail")
            assert outbox.sent == []

        assert [(letter.args, letter.kwargs) for letter in sent(outbox)] == [
            ([2, 3], {}),
            ([4], {"y": 5}),
        ]

    def test_a_rollback_takes_it_along(self, outbox):
        with transaction.atomic():
            add.delay_on_commit(2, 3)
            transaction.set_rollback(True)

        assert outbox.sent == []

    def test_eager_tasks_run_after_the_commit(self, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        with transaction.atomic():
            note.delay_on_commit("eager")
            assert not Effect.objects.exists()

        assert Effect.objects.count() == 1

    def test_eager_tasks_with_the_outbox_too(self, settings, rows):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        with transaction.atomic():
            note.delay_on_commit("eager")
            assert not Effect.objects.exists()

        assert (Effect.objects.count(), rows.count()) == (1, 0)

    def test_using_needs_the_outbox(self, outbox):
        with pytest.raises(OptionError, match="add 'django_qstash.outbox'"):
            add.apply_async((2, 3), using="default")


class TestAtomicTasks:
    def test_what_an_atomic_body_sends_is_part_of_it(self, rows, qstash):
        from tests.door import knock, letter

        assert knock(letter("outbox.sends_and_fails", "x")).status_code == 489
        assert (qstash.sent, rows.count()) == ([], 0)

        assert knock(letter("outbox.sends", "y")).status_code == 200
        assert [message.args for message in sent(qstash)] == [["y"]]
        assert connection.in_atomic_block is False


@shared_task(name="outbox.total")
def total(numbers):
    return sum(numbers)


@shared_task(name="outbox.sends", atomic=True)
def sends(name):
    note.delay(name)


@shared_task(name="outbox.sends_and_fails", atomic=True)
def sends_and_fails(name):
    note.delay(name)
    raise ValueError(name)
