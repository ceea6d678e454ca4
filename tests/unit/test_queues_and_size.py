"""Queues, rates, and arguments that are too large for a letter."""

from __future__ import annotations

import json

import pytest

from django_qstash import (
    AsyncResult,
    OptionError,
    PayloadTooLarge,
    PublishError,
    conf,
    shared_task,
)
from django_qstash.messages import TaskMessage
from django_qstash.results.cleanup import clear
from django_qstash.results.models import StoredFields
from django_qstash.tasks import send
from django_qstash.tasks.options import flow_control
from django_qstash.tasks.registry import tasks as registry
from tests.door import knock, letter
from tests.shop import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def tidy():
    names = set(registry)
    send._prepared.clear()
    yield
    send._prepared.clear()
    for name in set(registry) - names:
        registry.unregister(name)


def message_of(envelope):
    return TaskMessage.from_dict(json.loads(envelope.body))


class TestFifoQueues:
    @pytest.fixture(autouse=True)
    def queues(self, settings):
        settings.DJANGO_QSTASH_QUEUES = {"mail": {"parallelism": 3}}

    def test_a_call_goes_onto_its_queue(self, outbox):
        tasks.add.apply_async((1, 2), queue="mail")
        assert outbox.sent[0].queue == "mail"

    def test_the_task_knows_its_queue(self, loopback):
        where = shared_task(name="where", bind=True)(
            lambda self: self.request.delivery_info["routing_key"]
        )
        assert where.apply_async(queue="mail").get(timeout=1) == "mail"
        assert where.apply_async(queue="elsewhere").get(timeout=1) == "elsewhere"

    def test_with_a_delay_it_waits_outside_and_is_put_on_the_queue_when_it_is_due(
        self, outbox, virtual
    ):
        tasks.note.apply_async(("x",), queue="mail", countdown=60)
        (waiting,) = outbox.sent
        assert (waiting.queue, waiting.options["delay"]) == (None, "60s")

        virtual.advance(60)
        assert knock(waiting.body).json()["status"] == "queued"
        queued = outbox.sent[1]
        assert (queued.queue, "delay" in queued.options) == ("mail", False)
        assert queued.options["deduplication_id"] != waiting.options["deduplication_id"]
        assert knock(queued.body).json()["status"] == "success"

    def test_so_does_a_retry(self, outbox, virtual):
        shared_task(name="again", bind=True, queue="mail")(lambda self: self.retry(countdown=5))
        knock(letter("again", queue="mail"))
        (waiting,) = outbox.sent
        assert waiting.queue is None
        virtual.advance(5)
        assert knock(waiting.body).json()["status"] == "queued"
        assert outbox.sent[1].queue == "mail"

    def test_a_call_cannot_take_a_task_with_a_rate_there(self, outbox):
        rated = shared_task(name="rated", rate_limit="10/m")(lambda: None)
        with pytest.raises(OptionError, match="FIFO"):
            rated.apply_async(queue="mail")
        with pytest.raises(OptionError, match="FIFO"):
            rated.s().set(queue="mail").apply_async()
        assert outbox.sent == []

    def test_nor_can_a_retry(self, outbox):
        shared_task(name="rated", bind=True, rate_limit="10/m")(
            lambda self: self.retry(queue="mail")
        )
        message = letter("rated")
        knock(message)
        assert isinstance(AsyncResult(message.id).result, OptionError)

    def test_and_a_copy_for_later(self, outbox, virtual):
        message = letter("tests.shop.tasks.note", "x", queue="mail", p=1)
        assert knock(message).json()["status"] == "queued"

    @pytest.mark.parametrize(
        "options", [{"rate_limit": "1/s"}, {"flow_control": {"key": "k", "rate": 1}}], ids=str
    )
    def test_know_no_rates(self, outbox, options):
        with pytest.raises(OptionError, match="FIFO"):
            shared_task(name="wrong", queue="mail", **options)(lambda: None)
        if "flow_control" in options:
            with pytest.raises(OptionError, match="FIFO"):
                tasks.add.apply_async((1, 2), queue="mail", **options)
        assert outbox.sent == []

    def test_are_made_at_qstash_with_their_parallelism(self, settings):
        from django_qstash.devserver.embedded import EmbeddedServer
        from django_qstash.transport import get_transport

        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        with EmbeddedServer() as server:
            settings.QSTASH_URL, settings.QSTASH_TOKEN = server.url, server.token
            paused = {"queueName": "mail", "parallelism": 1, "paused": True}
            get_transport().request("POST", "/v2/queues", paused)
            tasks.add.apply_async((1, 2), queue="mail")
            queue = get_transport().request("GET", "/v2/queues/mail")
            settings.QSTASH_URL = ""
        assert (queue["parallelism"], queue["paused"], queue["lag"]) == (3, True, 1)


class TestRateLimit:
    @pytest.mark.parametrize(
        ("rate", "value"),
        [
            ("10/m", {"rate": 10, "period": 60}),
            ("5/s", {"rate": 5, "period": 1}),
            ("100/h", {"rate": 100, "period": 3600}),
            (7, {"rate": 7, "period": 1}),
            ("0.5/s", {"rate": 1, "period": 2}),
            ("1.5/m", {"rate": 1, "period": 40}),
        ],
    )
    def test_becomes_flow_control_keyed_by_the_task(self, rate, value):
        assert flow_control("a.b.c", rate) == {"key": "a.b.c", **value}

    @pytest.mark.parametrize("rate", ["often", "0/m", "-1/s", "10/d", ""])
    def test_that_is_none_is_refused(self, rate):
        with pytest.raises(OptionError, match="rate_limit"):
            shared_task(name="wrong", rate_limit=rate)(lambda: None)

    def test_travels_with_every_call(self, outbox):
        shared_task(name="limited", rate_limit="10/m")(lambda: None).delay()
        assert outbox.sent[0].headers()["Upstash-Flow-Control-Key"] == "limited"

    def test_and_flow_control_are_one_too_many(self):
        with pytest.raises(OptionError, match="give one"):
            shared_task(name="both", rate_limit=1, flow_control={"key": "k", "rate": 1})(
                lambda: None
            )


class TestLargeArguments:
    @pytest.fixture(autouse=True)
    def small(self, settings):
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 2000
        settings.DJANGO_QSTASH_STORE_LARGE_ARGS = True
        self.settings = settings

    def test_are_kept_in_the_database_and_fetched_at_delivery(self, loopback):
        long = shared_task(name="long")(lambda text, more="": len(text) + len(more))
        assert long.delay("x" * 5000, more="y" * 10).get(timeout=1) == 5010

    def test_are_removed_when_no_duplicate_can_come_any_more(self, outbox, virtual):
        tasks.add.delay("x" * 5000, 1)
        assert StoredFields.objects.count() == 1
        virtual.advance(conf.settings.DJANGO_QSTASH_DELIVERY_TTL + 1)
        clear()
        assert not StoredFields.objects.exists()

    def test_small_ones_travel_in_the_letter(self, outbox):
        tasks.add.delay(1, 2)
        assert not StoredFields.objects.exists()

    def test_without_the_setting_they_are_refused(self, outbox):
        self.settings.DJANGO_QSTASH_STORE_LARGE_ARGS = False
        with pytest.raises(PayloadTooLarge, match="DJANGO_QSTASH_MAX_PAYLOAD_SIZE"):
            tasks.add.delay("x" * 5000, 1)

    def test_qstash_down_leaves_nothing_behind(self):
        self.settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        with pytest.raises(PublishError):
            tasks.add.delay("x" * 5000, 1)
        assert not StoredFields.objects.exists()

    def test_a_retry_keeps_them(self, outbox):
        @shared_task(name="long", bind=True)
        def long(self, text):
            if self.request.retries == 0:
                self.retry(countdown=0)
            return len(text)

        result = long.delay("x" * 5000)
        knock(outbox.sent[0].body)
        knock(outbox.sent[1].body)
        assert AsyncResult(result.id).result == 5000

    def test_a_retry_with_other_large_ones_keeps_those(self, outbox):
        @shared_task(name="long", bind=True)
        def long(self, text):
            if self.request.retries == 0:
                self.retry(args=("y" * 6000,), countdown=0)
            return len(text)

        result = long.delay("x" * 5000)
        knock(outbox.sent[0].body)
        knock(outbox.sent[1].body)
        assert AsyncResult(result.id).result == 6000

    def test_that_are_gone_fail_the_task(self, outbox):
        result = tasks.add.delay("x" * 5000, "")
        StoredFields.objects.all().delete()
        assert knock(outbox.sent[0].body).status_code == 489
        assert "are gone" in str(AsyncResult(result.id).result)
