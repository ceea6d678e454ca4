"""Celery's signals around publishing and running: their arguments, and when they are sent."""

from __future__ import annotations

import re
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

import django_qstash
from django_qstash import AsyncResult, chain, chord, group, shared_task, signals
from django_qstash.messages import TaskMessage, decode
from django_qstash.results.database import DatabaseStore
from django_qstash.signals import TaskSignal
from tests.door import knock, letter
from tests.shop import tasks as shop
from tests.transports import Down

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]

ADD = shop.add.name
SOURCE = Path(django_qstash.__file__).parent


@contextmanager
def hearing(*names, sender=None):
    heard = []
    connected = []
    for name in names:

        def receiver(_called=name, **named):
            named.pop("signal")
            heard.append((_called, named))

        getattr(signals, name).connect(receiver, sender=sender)
        connected.append((getattr(signals, name), receiver))
    try:
        yield heard
    finally:
        for signal, receiver in connected:
            signal.disconnect(receiver, sender=sender)


def sent(outbox):
    return [TaskMessage.from_dict(decode(envelope.body)) for envelope in outbox.sent]


def test_every_signal_is_sent_somewhere_or_said_to_be_silent():
    code = " ".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    sent_ones = set(re.findall(r"\b(?:signals\.)?(\w+)\.emit\(", code))
    named = {name for name, value in vars(signals).items() if isinstance(value, TaskSignal)}

    assert named - sent_ones == set(signals.SILENT)


class TestPublishing:
    def test_before_and_after(self, outbox):
        with hearing("before_task_publish", "after_task_publish") as heard:
            result = shop.add.apply_async((1, 2), queue="mail", priority=3, shadow="sum")

        (first, before), (second, after) = heard
        assert (first, second) == ("before_task_publish", "after_task_publish")
        assert set(before) == {
            *("sender", "body", "exchange", "routing_key", "headers", "properties"),
            *("declare", "retry_policy"),
        }
        assert set(after) == {"sender", "body", "exchange", "routing_key", "headers"}
        assert before["sender"] == after["sender"] == ADD
        args, kwargs, embed = before["body"]
        assert (list(args), dict(kwargs)) == ([1, 2], {})
        assert embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        assert before["routing_key"] == "mail"
        headers = before["headers"]
        assert (headers["id"], headers["task"], headers["root_id"]) == (result.id, ADD, result.id)
        assert (headers["shadow"], headers["retries"], headers["eta"]) == ("sum", 0, None)
        assert headers["argsrepr"] == "(1, 2)"
        assert before["properties"] == {"correlation_id": result.id, "priority": 3}

    def test_the_headers_are_live(self, outbox):
        """As tracing needs it: what a receiver puts there is the task's request.headers."""

        def inject(headers, **_):
            headers["traceparent"] = "00-abc"

        signals.before_task_publish.connect(inject)
        try:
            shop.whoami.delay()
            chain(shop.add.s(1, 2), shop.add.s(3)).delay()
            group(shop.add.s(1, 2), shop.add.s(3, 4)).delay()
        finally:
            signals.before_task_publish.disconnect(inject)

        assert [each.headers for each in sent(outbox)] == [{"traceparent": "00-abc"}] * 4
        knock(sent(outbox)[0])
        assert AsyncResult(sent(outbox)[0].id).get()["headers"] == {"traceparent": "00-abc"}

    def test_by_sender(self, outbox):
        with hearing("after_task_publish", sender=ADD) as heard:
            shop.add.delay(1, 2)
            shop.whoami.delay()

        assert len(heard) == 1

    def test_after_is_not_sent_for_what_qstash_did_not_take(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = f"{Down.__module__}.Down"
        heard_of = hearing("before_task_publish", "after_task_publish")
        with heard_of as heard, pytest.raises(django_qstash.PublishError):
            shop.add.delay(1, 2)

        assert [name for name, _ in heard] == ["before_task_publish"]

    def test_what_a_delivery_sends_is_told_as_well(self, outbox):
        chain(shop.add.s(1, 2), shop.add.s(3)).delay()
        (first,) = sent(outbox)

        with hearing("before_task_publish", "after_task_publish") as heard:
            knock(first)

        assert [name for name, _ in heard] == ["before_task_publish", "after_task_publish"]
        assert heard[1][1]["headers"]["id"] == sent(outbox)[1].id
        assert heard[1][1]["headers"]["parent_id"] == first.id

    def test_the_body_of_a_chord_is_told_as_well(self, outbox):
        chord([shop.add.s(1, 2)], shop.whoami.si()).delay()
        (member,) = sent(outbox)

        with hearing("before_task_publish", "after_task_publish") as heard:
            knock(member)

        assert [name for name, _ in heard] == ["before_task_publish", "after_task_publish"]
        assert heard[0][1]["headers"]["id"] == sent(outbox)[1].id
        assert heard[0][1]["headers"]["task"] == shop.whoami.name

    def test_eager_tasks_are_not_published(self, settings, outbox):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True

        with hearing("before_task_publish", "task_prerun", "task_postrun") as heard:
            shop.add.delay(1, 2)

        assert [name for name, _ in heard] == ["task_prerun", "task_postrun"]


class TestRunning:
    def test_the_arguments_of_a_success(self):
        message = letter(ADD, 1, 2)
        names = ("task_received", "task_prerun", "task_success", "task_postrun")
        with hearing(*names, sender=shop.add) as heard:
            knock(message)

        assert [name for name, _ in heard] == list(names)
        received, prerun, success, postrun = (named for _, named in heard)
        assert {named["sender"] for _, named in heard} == {shop.add}
        assert received["request"].id == message.id
        assert (prerun["task_id"], prerun["task"]) == (message.id, shop.add)
        assert (list(prerun["args"]), prerun["kwargs"]) == ([1, 2], {})
        assert success["result"] == 3
        assert success["runtime"] >= 0
        assert (postrun["retval"], postrun["state"]) == (3, "SUCCESS")

    def test_of_a_failure(self):
        with hearing("task_failure", "task_postrun", sender="tests.shop.tasks.fail") as heard:
            knock(letter("tests.shop.tasks.fail", "bad", id="one"))

        (_, failure), (_, postrun) = heard
        assert failure["task_id"] == "one"
        assert isinstance(failure["exception"], ValueError)
        assert failure["einfo"].exception is failure["exception"]
        frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(failure["traceback"])]
        assert frames[-1] == "fail"
        assert list(failure["args"]) == ["bad"]
        assert (postrun["state"], postrun["retval"]) == ("FAILURE", failure["exception"])

    def test_of_a_retry(self, outbox):
        @shared_task(name="again", bind=True)
        def again(self):
            raise self.retry(exc=ValueError("later"), countdown=5)

        with hearing("task_retry", "task_postrun") as heard:
            knock(letter("again", id="one"))

        (_, retry), (_, postrun) = heard
        assert retry["request"].id == "one"
        assert str(retry["reason"].exc) == "later"
        assert retry["einfo"].exception is retry["reason"]
        assert postrun["state"] == "RETRY"

    def test_of_an_expired_and_of_a_revoked_one(self):
        AsyncResult("one").revoke()
        with hearing("task_revoked", "task_prerun") as heard:
            knock(letter(ADD, 1, 2, id="one"))
            knock(letter(ADD, 1, 2, id="two", expires="2020-01-01T00:00:00+00:00"))

        assert [(named["request"].id, named["expired"]) for _, named in heard] == [
            ("one", False),
            ("two", True),
        ]
        assert {named["terminated"] for _, named in heard} == {False}

    def test_of_one_that_nobody_knows(self):
        with hearing("task_unknown") as heard:
            knock(letter("nobody.knows", id="one"))

        ((_, named),) = heard
        assert (named["name"], named["id"]) == ("nobody.knows", "one")
        assert "nobody.knows" in str(named["exc"])

    def test_of_a_message_that_cannot_be_read(self):
        with hearing("task_rejected") as heard:
            assert knock({"v": 1, "kind": "task"}).status_code == 489

        ((_, named),) = heard
        assert named["message"].message_id == "msg_1"
        assert str(named["exc"])

    def test_of_an_error_that_is_not_the_tasks(self, monkeypatch):
        def broken(*args, **kwargs):
            raise RuntimeError("broken store")

        monkeypatch.setattr(DatabaseStore, "claim", broken)
        with hearing("task_internal_error") as heard:
            assert knock(letter(ADD, 1, 2, id="one")).status_code == 500

        ((_, named),) = heard
        assert (named["sender"], named["task_id"]) == (shop.add, "one")
        assert str(named["exception"]) == "broken store"
        assert named["request"]["id"] == "one"
