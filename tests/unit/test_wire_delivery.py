"""What QStash is told: which status means what stands in one place."""

from __future__ import annotations

import dataclasses
import json

import pytest

from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.wire.envelope import Envelope, Receipt


class TestReply:
    def test_done_is_forgotten_by_qstash(self):
        reply = Reply.done("success")

        assert (reply.status, reply.headers) == (200, {})
        assert json.loads(reply.body) == {"status": "success"}

    def test_failed_for_good_is_kept_and_not_tried_again(self):
        reply = Reply.failed("failure", "the task failed")

        assert reply.status == 489
        assert reply.headers == {"Upstash-NonRetryable-Error": "true"}
        assert json.loads(reply.body) == {"status": "failure", "detail": "the task failed"}

    @pytest.mark.parametrize(
        ("after", "header"), [(5, "5"), (0, "1"), (0.2, "1"), (1.1, "2"), (2.5, "3"), (-3, "1")]
    )
    def test_again_says_after_how_many_whole_seconds_and_never_too_early(self, after, header):
        reply = Reply.again("busy", after=after)

        assert reply.status == 503
        assert reply.headers == {"Retry-After": header}

    def test_again_says_so_twice_since_qstash_believes_it_every_time(self):
        reply = Reply.again("busy")

        assert reply.patiently(0) is reply
        assert [reply.patiently(n).headers for n in (1, 2, 3)] == [{"Retry-After": "20"}, {}, {}]
        assert reply.patiently(2).body == reply.body

    def test_other_answers_are_what_they_are(self):
        limited = Reply.refused(429, "too many", "slowly", **{"Retry-After": "60"})

        assert [reply.patiently(3) for reply in (limited, Reply.done("x"))] == [
            limited,
            Reply.done("x"),
        ]

    def test_an_unknown_name_is_tried_again_by_qstash(self):
        reply = Reply.unknown("no such task")

        assert (reply.status, reply.headers) == (404, {})

    def test_a_refusal_bears_the_headers_of_its_status(self):
        reply = Reply.refused(405, "wrong method", "POST it", Allow="POST")

        assert (reply.status, reply.headers) == (405, {"Allow": "POST"})

    def test_an_answer_is_ascii_json_whatever_was_said(self):
        reply = Reply.unknown("no task 'é\ud800\0'")

        assert reply.body.isascii()
        assert json.loads(reply.body)["detail"] == "no task 'é\ud800\0'"


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            Delivery(body=b""),
            Reply.done("success"),
            Envelope(url="https://x.example", body=b""),
            Receipt(message_id="msg_1"),
        ],
    )
    def test_they_cannot_be_written_over(self, value):
        name = dataclasses.fields(value)[0].name

        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)

    def test_an_envelope_says_what_it_holds_and_how_to_deliver_it(self):
        envelope = Envelope(
            url="https://x.example",
            body=b"<a/>",
            content_type="text/xml",
            options={"retries": 2, "queue": "mail", "headers": {"X-A": "1"}},
        )

        assert envelope.queue == "mail"
        assert envelope.headers() == {
            "Content-Type": "text/xml",
            "Upstash-Retries": "2",
            "Upstash-Forward-X-A": "1",
        }

    def test_a_plain_envelope_holds_json(self):
        envelope = Envelope(url="https://x.example", body=b"{}")

        assert envelope.queue is None
        assert envelope.headers() == {"Content-Type": "application/json"}
