"""What reaches a run from outside: signals, events, cancellation."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_qstash.exceptions import EncodeError, RunCanceled, WorkflowError
from django_qstash.workflows import cancel_workflow, notify, send_signal
from django_qstash.workflows.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from tests.shop import workflows as w
from tests.workflows.deliver import deliver, rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


class TestSignals:
    def test_one_wakes_the_run_that_waits_for_it(self, loopback, effects):
        run = w.approval.delay()
        assert run.status == "waiting"
        assert run.state()["waits_for"] == "signal:approved"

        run.signal("approved", {"by": "Ada"})

        assert run.result(1) == {"by": "Ada"}
        assert effects == {"ask": 1}
        assert [event.consumed_by.step_id for event in run.run.events.all()] == ["approved"]

    def test_one_that_comes_early_is_kept(self, outbox):
        run = w.approval.delay()
        run.signal("approved", "early")
        deliver(outbox)

        assert run.result(1) == "early"
        assert len(outbox.sent) == 1

    def test_several_are_received_in_their_order(self, loopback):
        run = w.two_signals.delay()
        run.signal("word", 1)
        run.signal("word", 2)

        assert run.result(1) == [1, 2]

    def test_another_name_does_not_wake(self, loopback):
        run = w.approval.delay()
        run.signal("refused")

        assert run.status == "waiting"

    def test_none_in_time_is_false(self, loopback):
        assert w.approval.delay(timeout="1h").result(1) == "nobody"

    def test_none_is_a_value(self, loopback):
        run = w.approval.delay()
        run.signal("approved")

        assert run.result(1) is None

    def test_it_is_sent_with_the_senders_transaction(self, loopback):
        run = w.approval.delay()
        with rolled_back():
            run.signal("approved", 1)
        assert run.status == "waiting"

        with transaction.atomic():
            run.signal("approved", 2)
            assert run.status == "waiting"
        assert run.result(1) == 2

    def test_who_is_not_there_or_over_is_told(self, loopback):
        with pytest.raises(WorkflowError, match="There is no run 'nobody'"):
            send_signal("nobody", "approved")
        run = w.late.delay()
        with pytest.raises(WorkflowError, match="is completed; nothing can be sent"):
            run.signal("approved")
        assert WorkflowEvent.objects.count() == 0

    @pytest.mark.parametrize("name", ["", " x", "x" * 201, "a\nb"])
    def test_a_name_that_cannot_be_is_refused(self, name, loopback):
        with pytest.raises(ValueError, match="A signal's name has 1 to 200 printable characters"):
            send_signal("run", name)

    def test_data_that_json_cannot_carry_is_refused(self, loopback):
        run = w.approval.delay()
        with pytest.raises(EncodeError, match="The signal's data"):
            run.signal("approved", object())
        assert run.run.inbox == 0

    def test_a_waiting_run_is_woken_once_by_many(self, outbox):
        run = w.approval.delay()
        deliver(outbox)
        for number in range(3):
            run.signal("approved", number)

        assert len(outbox.sent) == 2
        deliver(outbox)
        assert run.result(1) == 0


class TestEvents:
    def test_all_that_wait_are_woken(self, loopback):
        runs = [w.hears.delay("paid:7") for _ in range(3)]
        other = w.hears.delay("paid:8")

        assert notify("paid:7", "yes") == 3

        assert [run.result(1) for run in runs] == [["yes"]] * 3
        assert other.status == "waiting"

    def test_one_before_the_run_does_not_count(self, loopback, settings):
        notify("paid:7", "too early")
        import time

        time.sleep(0.01)
        run = w.hears.delay("paid:7", timeout=60)

        assert run.result(1) == ["nothing"]

    def test_one_between_start_and_wait_is_received(self, outbox):
        run = w.hears.delay("paid:7")
        assert notify("paid:7", 1) == 0
        deliver(outbox)

        assert run.result(1) == [1]

    def test_each_is_received_once_by_each_run(self, loopback):
        run = w.hears.delay("tick", times=3)
        for number in range(3):
            notify("tick", number)

        assert run.result(1) == [0, 1, 2]

    def test_nothing_is_told_when_the_sender_rolls_back(self, loopback):
        run = w.hears.delay("paid:7")
        with rolled_back():
            notify("paid:7")
        assert run.status == "waiting"


class TestCancel:
    def test_a_waiting_run_ends(self, loopback):
        run = w.approval.delay()

        assert run.cancel("not needed")

        with pytest.raises(RunCanceled, match="not needed"):
            run.result(1)
        assert not run.cancel()
        assert DeadLetterEntry.objects.count() == 0

    def test_its_children_end_with_it(self, outbox):
        run = w.parent.delay(50)
        deliver(outbox)
        (child,) = WorkflowRun.objects.filter(parent__run_id=run)

        cancel_workflow(run, "stop")

        child.refresh_from_db()
        assert child.status == "canceled"
        deliver(outbox)
        assert child.step_executions.count() == 0

    def test_a_canceled_child_is_its_parents_failure(self, outbox):
        run = w.parent.delay(50)
        deliver(outbox)
        (child,) = WorkflowRun.objects.filter(parent__run_id=run)
        cancel_workflow(child.run_id, "no child")

        deliver(outbox)

        assert "no child" in run.state()["error"]

    def test_a_letter_under_way_does_nothing(self, outbox, effects):
        run = w.add_up.delay(1)
        run.cancel()

        assert deliver(outbox).status_code == 200
        assert not effects

    def test_who_is_not_there_is_told(self, loopback):
        with pytest.raises(WorkflowError, match="There is no run"):
            cancel_workflow("nobody")
