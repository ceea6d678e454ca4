"""What a run has used: messages and bytes, to the last of them; times, and a price."""

from __future__ import annotations

import json
from base64 import b64encode
from decimal import Decimal
from io import StringIO

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_qstash import RetryPolicy, chain, get_stats, workflow
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.testing import QStashSandbox
from django_qstash.workflows import price
from django_qstash.workflows.models import DeadLetterEntry, StepExecution, WorkflowRun
from tests.door import knock
from tests.shop import workflows as w
from tests.shop.tasks import add
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(retry=RetryPolicy(max_attempts=4, initial=1, jitter=0))
def thorough(ctx):
    """Sends a message in each way in which a run may."""
    ctx.step.run("flaky", w.flaky, "flaky", 1)
    ctx.step.sleep("nap", 5)
    parts = [ctx.step.start(f"part-{n}", w.flaky, f"part-{n}", n) for n in range(2)]
    ctx.step.gather(*parts)
    ctx.step.task("add", add, 1, 2)
    ctx.step.call("call", "https://api.example.com/x", method="POST", body={"a": 1}, via="qstash")
    ctx.step.run_workflow("child", w.child, {"seconds": 5})
    beside = ctx.step.start_workflow("beside", w.child)
    ctx.step.wait_for_signal("go", timeout="1d")
    return beside.result()


@pytest.fixture
def qstash():
    with QStashSandbox() as sandbox:
        yield sandbox


def received(qstash):
    """Messages and bytes that QStash has had, by what it says itself."""
    bodies = [message.spec.body for message in qstash.state.machine.messages.values()]
    return len(bodies), sum(map(len, bodies))


def used():
    rows = WorkflowRun.objects.values_list("messages", "bytes_sent")
    return tuple(map(sum, zip(*rows, strict=True)))


def finish(qstash, run):
    for _ in range(20):
        qstash.advance(10)
        if run.run.waits == "signal:go":
            break
    run.signal("go")
    qstash.deliver_all()
    assert run.result(1) == 41


class TestMessages:
    def test_every_message_is_counted_to_the_byte(self, qstash):
        run = thorough.delay()
        finish(qstash, run)
        assert used() == received(qstash)
        row = run.run
        steps = {
            "first": 1,
            "retry": 1,
            "nap": 1,
            "branches": 3,
            "woken by the last branch": 1,
            "task, answer, woken": 3,
            "call, answer, woken": 3,
            "woken by the child": 1,
            "time-out of the signal": 1,
            "woken by the signal": 1,
        }
        assert row.messages == sum(steps.values())

    @pytest.mark.parametrize("crash_at", range(1, 14))
    def test_a_crash_does_not_count_twice(self, qstash, crash_at):
        run = w.sleepy.delay(5)
        qstash.deliver_due(crash_at=crash_at)
        qstash.deliver_all()
        assert run.status == "completed"
        # Letters that QStash has had before, it drops by their ids.
        messages, _ = received(qstash)
        assert run.run.messages <= messages
        assert run.run.messages >= 2

    def test_a_run_of_a_canvas_begins_with_its_letter(self, qstash):
        result = chain(add.s(1, 2), w.plain.s()).apply_async()
        qstash.deliver_all()
        assert result.get(timeout=1) == {"got": 3}
        run = WorkflowRun.objects.get()
        letters = [message.spec.body for message in qstash.state.machine.messages.values()]
        (own,) = [body for body in letters if json.loads(body).get("task") == w.plain.name]
        assert (run.messages, run.bytes_sent) == (1, len(own))

    def test_a_queue_makes_its_letters_longer(self, qstash, settings):
        settings.DJANGO_QSTASH_QUEUES = {"slow": {"parallelism": 1}}
        run = w.approval.apply_async(queue="slow")
        qstash.deliver_all()
        run.signal("approved", 1)
        qstash.deliver_all()
        assert run.result(1) == 1
        assert used() == received(qstash)

    def test_copies_of_a_letter_count(self, outbox):
        run = w.sleepy.trigger({"seconds": 5})
        WorkflowRun.objects.update(lease_token="another", lease_until=2**62, status="running")
        deliver(outbox)
        WorkflowRun.objects.update(lease_token=None, lease_until=None)
        deliver(outbox)
        first, copy, nap = outbox.sent
        assert copy.body != first.body
        assert (run.run.messages, run.run.bytes_sent) == (3, sum(map(len, bodies(outbox))))

    def test_a_call_through_qstash_is_two(self, outbox):
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        deliver(outbox)
        answer = {"status": 200, "body": b64encode(b"{}").decode(), "header": {}}
        query = outbox.sent[1].options["callback"].partition("?")[2]
        for _ in range(2):
            knock(answer, query=query)
        row = run.run
        # The answer that came twice was one message.
        assert row.messages == len(outbox.sent) + 1
        size = sum(map(len, bodies(outbox))) + len(json.dumps(answer))
        assert row.bytes_sent == size

    def test_what_is_given_back_is_not_counted_again(self, outbox):
        """A call was published, and the database was away when it was to be recorded."""
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})

        def away(execute, sql, params, many, context):
            if sql.startswith("INSERT INTO") and "stepexecution" in sql:
                raise OperationalError("database is locked")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(away):
            assert deliver(outbox).status_code == 503
        assert len(outbox.sent) == 2
        assert run.run.messages == 1
        assert run.run.compute_seconds > 0
        deliver(outbox, 0)
        call, again = outbox.sent[1:]
        assert call.options["deduplication_id"] == again.options["deduplication_id"]
        assert run.run.messages == 2

    def test_a_letter_that_goes_on_through_a_queue_is_one_more(self, outbox, settings):
        settings.DJANGO_QSTASH_QUEUES = {"slow": {"parallelism": 1}}
        run = w.sleepy.apply_async((1,), queue="slow")
        deliver(outbox)
        WorkflowRun.objects.update(wake_at=timezone.now())
        StepExecution.objects.update(wake_at=timezone.now())
        assert deliver(outbox).json()["status"] == "enqueued"
        deliver(outbox)
        assert run.status == "completed"
        assert (run.run.messages, run.run.bytes_sent) == (3, sum(map(len, bodies(outbox))))

    def test_a_failure_url_is_one(self, outbox):
        run = w.told.delay()
        deliver(outbox)
        assert run.status == "failed"
        assert (run.run.messages, run.run.bytes_sent) == (2, sum(map(len, bodies(outbox))))


def bodies(outbox):
    return [envelope.body for envelope in outbox.sent]


class TestTimes:
    def test_deliveries_are_added_up(self, qstash, settings):
        settings.DJANGO_QSTASH_WORKFLOW_DATABASE_TIME = True
        run = w.sleepy.delay(5)
        seen = [run.run]
        qstash.deliver_due()
        seen.append(run.run)
        qstash.deliver_all()
        seen.append(run.run)
        computed = [row.compute_seconds for row in seen]
        asked = [row.database_seconds for row in seen]
        assert computed[0] == asked[0] == 0
        assert 0 < computed[1] < computed[2] < 10
        assert 0 < asked[1] < asked[2]
        assert asked[2] < computed[2]

    def test_the_database_is_not_timed_unless_asked(self, qstash):
        run = w.sleepy.delay(0)
        qstash.deliver_all()
        assert run.run.compute_seconds > 0
        assert run.run.database_seconds == 0

    @pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
    def test_parallel_steps_hand_theirs_over_at_the_end(self, end, outbox, settings):
        settings.DJANGO_QSTASH_WORKFLOW_DATABASE_TIME = True
        run = w.fan_out.delay(2)
        deliver(outbox, 0)
        own = run.run.compute_seconds
        deliver(outbox, 1)
        deliver(outbox, 2)
        steps = StepExecution.objects.all()
        assert all(step.compute_seconds > step.database_seconds > 0 for step in steps)
        assert run.run.compute_seconds == own

        steps.update(compute_seconds=100, database_seconds=10)
        if end == "canceled":
            run.cancel()
        elif end == "failed":
            WorkflowRun.objects.update(data={"no": "such parameter"})
        deliver(outbox, 3)

        row = run.run
        assert row.status == end
        assert own + 200 <= row.compute_seconds < own + 210
        assert 20 < row.database_seconds < 25

    def test_a_parallel_step_adds_up_its_attempts(self, outbox):
        w.mapped.delay([1])
        deliver(outbox, 0)
        StepExecution.objects.update(compute_seconds=100)
        deliver(outbox, 1)
        assert 100 < StepExecution.objects.get().compute_seconds < 110

    def test_a_resumed_run_begins_anew(self, qstash):
        run = w.broken.delay()
        qstash.deliver_all()
        StepExecution.objects.update(compute_seconds=100, fan=1)
        again = DeadLetterEntry.objects.get(run_id=run).resume()
        qstash.deliver_all()
        assert again.run.compute_seconds < 100

    def test_it_takes_no_statement_of_its_own(self, outbox):
        w.late.delay()
        with CaptureQueriesContext(connection) as queries:
            deliver(outbox)
        column = connection.ops.quote_name("compute_seconds")
        told = [each["sql"] for each in queries if column in each["sql"]]
        # Not the one that reads them: a claim, on databases whose UPDATE returns the row.
        writes = [sql for sql in told if f"{column} = " in sql]
        assert len(writes) == 1
        assert "completed" in writes[0]


class TestThePrice:
    @pytest.mark.parametrize(
        ("messages", "per_message", "shown"),
        [
            (0, "0.00001", "$0.00"),
            (3, "0.00001", "$0.00003"),
            (100_000, "0.00001", "$1.00"),
            (7, "0", "$0.00"),
            (3, "1", "$3.00"),
            (10, "1E-5", "$0.0001"),
        ],
    )
    def test_it_is_exact(self, messages, per_message, shown, settings):
        settings.DJANGO_QSTASH_MESSAGE_PRICE = per_message
        assert price.of(messages) == messages * Decimal(per_message)
        assert price.shown(price.of(messages)) == shown

    @pytest.mark.parametrize("wrong", ["free", "-1", "NaN", "Infinity"])
    def test_what_is_no_price_is_an_error(self, wrong):
        with override_settings(DJANGO_QSTASH_MESSAGE_PRICE=wrong):
            with pytest.raises(ImproperlyConfigured, match="must be a decimal number"):
                price.of(1)
            found = checks.run_checks(tags=["django_qstash"])
        (told,) = [each for each in found if "MESSAGE_PRICE" in each.msg]
        assert told.id == "django_qstash.E001"

    def test_the_default_is_a_dollar_for_a_hundred_thousand(self):
        assert price.of(100_000) == 1


class TestWhereItIsShown:
    def test_of_one_run(self, loopback):
        run = w.sleepy.delay(5)
        state = run.state()
        row = run.run
        assert (state["messages"], state["bytes_sent"]) == (2, row.bytes_sent)
        assert state["compute_seconds"] == row.compute_seconds
        assert (state["database_seconds"], state["price"]) == (0, Decimal("0.00002"))

    def test_of_all_together(self, loopback):
        runs = [w.sleepy.delay(5), w.sleepy.delay(0)]
        stats = get_stats()[w.sleepy.name]
        rows = [run.run for run in runs]
        assert stats["completed"] == 2
        assert stats["messages"] == 3
        assert stats["bytes_sent"] == sum(row.bytes_sent for row in rows)
        assert stats["compute_seconds"] == pytest.approx(sum(row.compute_seconds for row in rows))
        assert stats["price"] == Decimal("0.00003")

    def test_in_a_terminal(self, loopback):
        run = w.sleepy.delay(5)
        size = run.run.bytes_sent
        WorkflowRun.objects.update(compute_seconds=0.0125, database_seconds=0.004)
        line = (
            f"2 messages of {size} bytes in all, about $0.00002; 0.013 s of compute time, "
            "0.004 s of it in the database"
        )
        assert f"used          {line}\n" in manage("show", run)
        assert f"{w.sleepy.name}: 1 completed\n    {line}\n" in manage("stats")
        assert json.loads(manage("show", run, "--json"))["price"] == "0.00002"
        stats = json.loads(manage("stats", "--json"))[w.sleepy.name]
        assert (stats["messages"], stats["price"]) == (2, "0.00002")


def manage(*arguments):
    out = StringIO()
    call_command("workflows", *arguments, stdout=out)
    return out.getvalue()
