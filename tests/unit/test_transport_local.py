"""The transports without a network keep letters, or deliver them as QStash would."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import path

from django_qstash import clock
from django_qstash.exceptions import PublishError
from django_qstash.transport.address import webhook_url
from django_qstash.transport.local import Loopback, Outbox, knock
from django_qstash.wire import signature
from django_qstash.wire.envelope import Envelope, Receipt


@dataclass
class Door:
    """A webhook that answers as it is told, and remembers who knocked."""

    seen: list[Any] = field(default_factory=list)
    #: What it answers, one after another; then 200.
    answers: list[Any] = field(default_factory=list)
    #: Called with each request.
    then: Any = None

    def open(self, request):
        self.seen.append(request)
        request.arrived = clock.time()
        # Read before Django's test client takes it away.
        assert request.body is not None
        if self.then is not None:
            self.then(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return HttpResponse(b"said", status=answer) if isinstance(answer, int) else answer

    @property
    def bodies(self):
        return [request.body for request in self.seen]


door = Door()
urlpatterns = [path("qstash/webhook/", door.open)]


def failed_for_good() -> HttpResponse:
    return HttpResponse(status=489, headers={"Upstash-NonRetryable-Error": "true"})


@pytest.fixture(autouse=True)
def site(settings):
    vars(door).update(vars(Door()))
    settings.ROOT_URLCONF = __name__
    return door


@pytest.fixture
def loopback():
    return Loopback()


def envelope(body: bytes = b"{}", query: str = "", **options: Any) -> Envelope:
    return Envelope(url=webhook_url() + query, body=body, options=options)


class TestOutbox:
    def test_it_keeps_what_is_published(self):
        outbox = Outbox()
        letters = [envelope(b"1"), envelope(b"2"), envelope(b"3")]

        receipts = [outbox.publish(letters[0]), *outbox.batch(letters[1:])]

        assert outbox.sent == letters
        assert len({receipt.message_id for receipt in receipts}) == 3
        assert door.seen == []

    def test_it_keeps_what_is_cancelled(self):
        outbox = Outbox()

        assert outbox.cancel("msg_1") is True
        assert outbox.cancelled == ["msg_1"]

    def test_there_is_no_qstash_behind_it(self):
        Outbox().prepare_queue("mail", 3)
        with pytest.raises(PublishError, match="no QStash behind it for GET /v2/keys"):
            Outbox().request("GET", "/v2/keys")


class TestADelivery:
    def test_it_bears_what_qstash_gives_it(self, loopback):
        receipt = loopback.publish(envelope(b'{"v":1}', "?callback=x", headers={"X-Tenant": "7"}))

        (request,) = door.seen
        assert request.method == "POST"
        assert request.get_full_path() == "/qstash/webhook/?callback=x"
        assert request.body == b'{"v":1}'
        assert request.content_type == "application/json"
        assert request.headers["X-Tenant"] == "7"
        assert request.headers["Upstash-Message-Id"] == receipt.message_id
        assert request.headers["Upstash-Retried"] == "0"
        assert request.headers["User-Agent"] == "Upstash-QStash"

    def test_it_is_signed_for_its_address(self, loopback, settings):
        loopback.publish(envelope(b"\xff", "?callback=x"))

        signature.verify(
            door.seen[0].headers["Upstash-Signature"],
            b"\xff",
            url=webhook_url() + "?callback=x",
            keys=[settings.QSTASH_CURRENT_SIGNING_KEY],
            now=clock.time(),
        )

    @pytest.mark.parametrize(
        ("domain", "secure"), [("https://shop.example.com", True), ("http://127.0.0.1:8000", False)]
    )
    def test_it_comes_as_securely_as_qstash_would(self, loopback, settings, domain, secure):
        settings.DJANGO_QSTASH_DOMAIN = domain

        loopback.publish(envelope())

        assert door.seen[0].is_secure() is secure

    def test_it_is_over_when_publish_returns(self, loopback):
        receipt = loopback.publish(envelope())

        assert loopback.answers == [(receipt.message_id, 200)]

    def test_an_address_that_is_not_ours_is_refused_and_nothing_is_delivered(self, loopback):
        theirs = Envelope(url="https://elsewhere.example/", body=b"")

        for call in (loopback.publish, lambda letter: knock(letter, message_id="msg_1")):
            with pytest.raises(PublishError, match="is not this site's webhook"):
                call(theirs)
        assert door.seen == []

    def test_what_was_published_before_is_delivered_though_a_later_one_is_refused(self, loopback):
        theirs = Envelope(url="https://elsewhere.example/", body=b"")

        def then(request):
            if request.body == b"1":
                loopback.publish(envelope(b"2"))
                with pytest.raises(PublishError):
                    loopback.publish(theirs)

        door.then = then
        loopback.publish(envelope(b"1"))

        assert door.bodies == [b"1", b"2"]

    def test_there_is_nothing_left_to_cancel(self, loopback):
        assert loopback.cancel(loopback.publish(envelope()).message_id) is False

    def test_there_is_no_qstash_behind_it(self, loopback):
        loopback.prepare_queue("mail", 3)
        with pytest.raises(PublishError, match="no QStash behind it for GET /v2/keys"):
            loopback.request("GET", "/v2/keys")


class TestRetries:
    @pytest.mark.parametrize(
        ("options", "attempts"), [({}, 4), ({"retries": 0}, 1), ({"retries": 1}, 2)]
    )
    def test_a_failed_delivery_is_repeated_as_often_as_it_says(self, loopback, options, attempts):
        door.answers = [500] * 9

        loopback.publish(envelope(**options))

        assert [request.headers["Upstash-Retried"] for request in door.seen] == [
            str(number) for number in range(attempts)
        ]
        assert len({request.headers["Upstash-Message-Id"] for request in door.seen}) == 1

    @pytest.mark.parametrize("answer", [200, 202, 204])
    def test_any_2xx_is_success(self, loopback, answer):
        door.answers = [answer]

        loopback.publish(envelope())

        assert len(door.seen) == 1

    @pytest.mark.parametrize("answer", [302, 404, 489, 503, ValueError("a bug")])
    def test_anything_else_is_tried_again(self, loopback, answer):
        door.answers = [answer]

        loopback.publish(envelope())

        assert len(door.seen) == 2

    def test_what_failed_for_good_is_not(self, loopback):
        door.answers = [failed_for_good()]

        receipt = loopback.publish(envelope())

        assert loopback.answers == [(receipt.message_id, 489)]

    def test_the_headers_word_counts_with_its_status_only(self, loopback):
        door.answers = [HttpResponse(status=500, headers={"Upstash-NonRetryable-Error": "true"})]

        loopback.publish(envelope())

        assert len(door.seen) == 2

    @pytest.mark.parametrize("last", [503, "for good"])
    def test_the_failure_callback_tells_what_became_of_it(self, loopback, last):
        door.answers = [failed_for_good()] if last == "for good" else [503, 503]

        receipt = loopback.publish(
            envelope(b"letter", retries=1, failure_callback=webhook_url() + "?callback=given-up")
        )

        told = door.seen[-1]
        assert told.get_full_path() == "/qstash/webhook/?callback=given-up"
        said = json.loads(told.body)
        assert said["sourceMessageId"] == receipt.message_id
        assert base64.b64decode(said["sourceBody"]) == b"letter"
        assert said["url"] == webhook_url()
        assert (said["status"], said["retried"]) == ((489, 0) if last == "for good" else (503, 1))
        assert said["maxRetries"] == 1
        assert told.headers["Upstash-Message-Id"] != receipt.message_id

    def test_a_callback_that_fails_is_repeated_and_has_none_of_its_own(self, loopback):
        door.answers = [500] * 99

        loopback.publish(envelope(retries=1, failure_callback=webhook_url() + "?callback=x"))

        assert len(door.seen) == 4


class TestOrder:
    def test_what_a_delivery_publishes_is_delivered_after_it(self, loopback):
        open_doors = []

        def then(request):
            assert open_doors == []
            open_doors.append(request)
            if request.body == b"1":
                loopback.publish(envelope(b"2"))
                loopback.batch([envelope(b"3"), envelope(b"4")])
            open_doors.pop()

        door.then = then
        loopback.publish(envelope(b"1"))

        assert door.bodies == [b"1", b"2", b"3", b"4"]

    def test_what_is_tried_again_waits_for_its_turn(self, loopback):
        door.answers = [503]
        door.then = lambda request: (
            loopback.publish(envelope(b"2")) if len(door.seen) == 1 else None
        )

        loopback.publish(envelope(b"1"))

        assert door.bodies == [b"1", b"2", b"1"]

    def test_each_thread_waits_for_its_own(self, loopback):
        inside, go_on = threading.Event(), threading.Event()

        def then(request):
            if request.body == b"slow":
                inside.set()
                assert go_on.wait(5)

        door.then = then
        slow = threading.Thread(target=loopback.publish, args=[envelope(b"slow")])
        slow.start()
        assert inside.wait(5)
        loopback.publish(envelope(b"fast"))
        answered = len(loopback.answers)
        go_on.set()
        slow.join()

        assert answered == 1
        assert door.bodies == [b"slow", b"fast"]

    def test_after_an_error_it_delivers_again(self, loopback, settings):
        door.then = lambda request: setattr(
            settings, "DJANGO_QSTASH_DOMAIN", "https://moved.example"
        )
        door.answers = [500]
        with pytest.raises(PublishError):
            loopback.publish(envelope())
        door.then = None

        loopback.publish(envelope(b"again"))

        assert door.bodies == [b"{}", b"again"]


class TestTime:
    def test_a_delay_is_not_waited_for_and_the_delivery_sees_its_time(self, loopback):
        with clock.use(clock.VirtualClock(1000)):
            loopback.publish(envelope(b"delay", delay="3600s"))
            loopback.publish(envelope(b"instant", not_before=5000, delay="1s"))
            loopback.publish(envelope(b"past", not_before=5))

            assert clock.time() == 1000
        assert [request.arrived for request in door.seen] == [4600, 5000, 1000]

    def test_what_is_due_first_is_delivered_first(self, loopback):
        def then(request):
            if request.body == b"1":
                loopback.publish(envelope(b"4", delay="60s"))
                loopback.publish(envelope(b"3", delay="30s"))
                loopback.publish(envelope(b"2"))
            if request.body == b"3":
                loopback.publish(envelope(b"5", delay="60s"))

        door.then = then
        with clock.use(clock.VirtualClock(1000)):
            loopback.publish(envelope(b"1"))

        assert door.bodies == [b"1", b"2", b"3", b"4", b"5"]
        assert [request.arrived for request in door.seen] == [1000, 1000, 1030, 1060, 1090]

    def test_the_machines_own_clock_is_in_use_again_afterwards(self, loopback):
        loopback.publish(envelope(delay="1d"))

        assert not clock.is_virtual()

    def test_an_equal_message_is_taken_once_in_ten_minutes(self, loopback):
        with clock.use(clock.VirtualClock()) as virtual:
            first = loopback.publish(envelope(deduplication_id="a"))
            virtual.advance(599)
            second = loopback.publish(envelope(deduplication_id="a"))
            other = loopback.publish(envelope(deduplication_id="b"))
            virtual.advance(1)
            third = loopback.publish(envelope(deduplication_id="a"))

        assert second == Receipt(message_id=first.message_id, deduplicated=True)
        assert not other.deduplicated
        assert not third.deduplicated
        assert len(door.seen) == 3

    def test_messages_without_an_id_are_never_equal(self, loopback):
        loopback.batch([envelope(), envelope()])

        assert len(door.seen) == 2
