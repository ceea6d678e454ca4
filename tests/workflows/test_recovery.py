"""What storms have found, one by one: each of these lost, doubled or stuck a run once."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection

from django_qstash import clock
from django_qstash.exceptions import InputValidationError, PublishError
from django_qstash.results.models import TaskResult
from django_qstash.transport import get_transport
from django_qstash.transport.local import Outbox
from django_qstash.workflows import children, events, get_run, send_signal, sweep
from django_qstash.workflows.models import Closing, DeadLetterEntry, WorkflowEvent, WorkflowRun
from tests.door import given_up, knock
from tests.shop import tasks
from tests.shop import workflows as w
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def time():
    with clock.use(clock.VirtualClock()) as virtual:
        yield virtual


@pytest.fixture
def unreliable(settings):
    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Unreliable"
    return get_transport()


@contextmanager
def at(text, act):
    """Do something before the first statement with that text in it."""
    done = []

    def executing(execute, sql, params, many, context):
        if text in sql and not done:
            done.append(sql)
            act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(executing):
        yield
    assert done


def lose_the_connection():
    raise OperationalError("server closed the connection unexpectedly")


def bodies(outbox, since=0):
    return [envelope.body for envelope in outbox.sent[since:]]


class Answerless(Outbox):
    """Takes a message, has it delivered, and does not say so."""

    def publish(self, envelope):
        super().publish(envelope)
        knock(envelope.body)
        raise PublishError("QStash did not answer.")


class TestBranches:
    def test_those_whose_letters_were_refused_are_sent_by_the_next_delivery(self, unreliable):
        run = w.fan_out.trigger({"count": 3})
        unreliable.down, unreliable.takes = True, 1
        assert deliver(unreliable, 0).status_code == 503
        unreliable.down = False

        assert deliver(unreliable, 0).status_code == 200
        sent = bodies(unreliable, 1)
        assert len(sent) == 3
        for body in sent:
            knock(body)
        deliver(unreliable)
        assert run.result(1) == 3

    def test_a_lost_connection_is_not_their_failure(self, outbox):
        run = w.fan_out.trigger({"count": 1})
        deliver(outbox)

        with at("ORDER BY id", lose_the_connection):
            assert deliver(outbox, 1).status_code == 503
        assert deliver(outbox, 1).status_code == 200
        deliver(outbox)
        assert run.result(1) == 0


class TestOnFailure:
    def hold(self):
        """Its process has died while it was at work on ``on_failure``."""
        until = int(clock.time() * 1000) + 60_000
        WorkflowRun.objects.update(
            closing=Closing.ON_FAILURE, lease_token="gone", lease_until=until
        )
        WorkflowRun.objects.get().step_executions.filter(step_id="on_failure").delete()
        w.HEARD.clear()

    def test_it_is_heard_when_the_lease_of_who_died_of_it_has_ended(self, outbox, time):
        run = w.heard.trigger()
        deliver(outbox)
        self.hold()

        assert deliver(outbox).json()["status"] == "busy"
        assert outbox.sent[-1].options["delay"] == "62s"
        assert w.HEARD == []
        time.advance(62)
        assert deliver(outbox).json()["status"] == "over"
        assert [heard[0] for heard in w.HEARD] == [run]

    def test_it_is_over_though_another_has_taken_it_over_and_died(self, outbox):
        """Found by a storm: the answer of who goes on is the last that QStash hears of it."""
        w.heard.trigger()
        w.HEARD.clear()

        def taken_over():
            WorkflowRun.objects.update(lease_token="dead")

        with at("AND step_id", taken_over):
            assert deliver(outbox).status_code == 489

        row = WorkflowRun.objects.get()
        assert (len(w.HEARD), row.closing, row.lease_token) == (1, Closing.NOTHING, None)

    def test_it_is_heard_of_input_that_the_code_takes_no_more(self, outbox, monkeypatch):
        w.HEARD.clear()
        run = w.heard.trigger({"value": 7})

        def changed(*_):
            raise InputValidationError("The model has changed.")

        monkeypatch.setattr(type(w.heard.input), "validated", changed)

        assert deliver(outbox).status_code == 489
        assert [(run, None, "InputValidationError", {"value": 7})] == w.HEARD

    def test_also_when_qstash_had_given_the_run_up(self, outbox, time):
        w.heard.trigger()
        deliver(outbox)
        self.hold()

        letter = outbox.sent[0]
        assert given_up(letter_of(letter)).status_code == 503
        time.advance(62)
        assert given_up(letter_of(letter)).status_code == 200
        assert len(w.HEARD) == 1


def letter_of(envelope):
    from django_qstash.messages import WorkflowMessage, decode

    return WorkflowMessage.from_dict(decode(envelope.body))


def test_what_a_given_up_delivery_put_down_goes_on(outbox, time):
    """It had recorded that the run sleeps, and died before the letter; so did all that followed."""
    run = w.sleepy.trigger({"seconds": 60})
    deliver(outbox)
    del outbox.sent[1]

    assert given_up(letter_of(outbox.sent[0])).status_code == 200
    time.advance(60)
    deliver(outbox)
    assert run.result(1) == "slept"


class TestLeases:
    def test_one_that_is_lost_is_looked_into_before_the_answer(self, outbox):
        """Whoever took the run over may have been turned away since, and nobody else may come."""
        run = w.add_up.trigger({"a": 1, "b": 2})

        def taken_over_and_given_back():
            WorkflowRun.objects.update(lease_token=None, lease_until=None)

        with at("ORDER BY id", taken_over_and_given_back):
            assert deliver(outbox).status_code == 503
        assert deliver(outbox).status_code == 200
        assert run.result(1) == 3


class TestAnswers:
    def test_a_task_that_is_heard_of_twice_has_answered_once(self, outbox):
        run = w.errand.trigger({"a": 1, "b": 2})
        deliver(outbox)

        for _ in range(2):
            events.deliver(run, "task:add", {"value": 3}, once=True)
        deliver(outbox)

        assert run.result(1) == 3
        assert WorkflowEvent.objects.get().consumed_by.step_id == "add"
        events.deliver(w.approval.trigger(), "task:add", {"value": 3}, once=True)
        assert WorkflowEvent.objects.count() == 2

    def test_a_resumed_run_asks_its_task_again(self, loopback):
        w.bad_errand.trigger()

        DeadLetterEntry.objects.get().resume()

        assert TaskResult.objects.filter(task_name=tasks.fail.name).count() == 2
        assert WorkflowRun.objects.filter(status="failed").count() == 2


class TestChildren:
    @pytest.mark.parametrize("ended", [False, True])
    def test_one_whose_key_is_taken_since_the_look_is_found(self, ended, outbox, monkeypatch):
        look, twins = children._twin, []

        def looked(*about):
            found = look(*about)
            if not twins:
                twins.append(w.add_up.trigger({"a": 1, "b": 2}, idempotency_key="sum"))
                if ended:
                    deliver(outbox)
            return found

        monkeypatch.setattr(children, "_twin", looked)
        run = w.keyed_child.trigger()
        deliver(outbox)
        if not ended:
            assert run.state()["waits_for"] == f"child:{twins[0]}"
            deliver(outbox)  # the child
            deliver(outbox)

        assert run.result(1) == 3
        assert WorkflowRun.objects.count() == 2

    def test_its_end_is_heard_of_though_nobody_waited_when_it_was_claimed(self, outbox):
        child = w.add_up.trigger({"a": 1, "b": 2}, idempotency_key="sum")
        run = w.keyed_child.trigger()

        def waited_for():
            deliver(outbox, 1)
            assert run.status == "waiting"

        with at("ORDER BY id", waited_for):
            deliver(outbox, 0)
        deliver(outbox)

        assert (child.result(1), run.result(1)) == (3, 3)


class TestTriggers:
    def test_a_run_that_has_begun_is_kept_whatever_became_of_its_letter(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = f"{__name__}.Answerless"

        with pytest.raises(PublishError):
            w.add_up.trigger({"a": 1}, run_id="begun")

        assert get_run("begun").result == 2

    def test_who_signals_does_not_hear_of_what_fails_after_the_commit(self, outbox):
        run = w.approval.trigger()
        deliver(outbox)

        with at("SET " + connection.ops.quote_name("owed") + " = ", lose_the_connection):
            send_signal(run, "approved", "yes")

        assert WorkflowRun.objects.get().owed is not None
        deliver(outbox)
        assert run.result(1) == "yes"

    def test_the_sweep_sends_one_letter_for_a_run_that_is_owed_and_late(self, outbox, time):
        run = w.approval.trigger({"timeout": 10})
        deliver(outbox)
        send_signal(run, "approved", "yes")
        WorkflowRun.objects.update(owed=1)
        time.advance(10_000)
        before = len(outbox.sent)

        assert sweep.sweep() == 1
        assert len(outbox.sent) == before + 1
