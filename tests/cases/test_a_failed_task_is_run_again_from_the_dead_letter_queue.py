"""``qstash_dlq``: what failed for good stays at QStash, and can be run again once."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_qstash import AsyncResult, shared_task
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.messages import TaskMessage
from django_qstash.tasks.registry import tasks as registry
from django_qstash.tasks.store import get_store
from django_qstash.transport import get_transport
from tests.door import knock
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db


@pytest.fixture
def qstash(settings):
    """A real server; its deliveries go nowhere, and the test knocks in its stead."""
    with EmbeddedServer(retry_scale=0) as server:
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        settings.QSTASH_URL, settings.QSTASH_TOKEN = server.url, server.token
        settings.QSTASH_CURRENT_SIGNING_KEY = server.current_key
        settings.DJANGO_QSTASH_DOMAIN = "http://127.0.0.1:9"
        settings.DJANGO_QSTASH_WATCH_DELIVERIES = False
        yield server
        settings.QSTASH_URL = ""


@pytest.fixture
def flaky():
    broken = [True]

    @shared_task(name="flaky")
    def flaky(name):
        if broken[0]:
            raise ValueError("not yet")
        Effect.objects.create(name=name)

    flaky.mend = lambda: broken.clear() or broken.append(False)
    yield flaky
    registry.unregister("flaky")


def dlq(*args, **kwargs):
    out = StringIO()
    call_command("qstash_dlq", *args, stdout=out, stderr=out, **kwargs)
    return out.getvalue()


def fail_once(flaky, qstash, name="x", **options):
    result = flaky.apply_async((name,), retries=0, **options)
    qstash.wait_idle()
    (entry,) = [
        e
        for e in get_transport().request("GET", "/v2/dlq")["messages"]
        if result.id in e.get("body", "")
    ]
    assert knock(entry["body"].encode(), message_id=entry["messageId"]).status_code == 489
    return result, entry


def test_it_is_listed_by_its_task(flaky, qstash):
    result, entry = fail_once(flaky, qstash)

    assert f"{entry['dlqId']}  no answer  flaky[{result.id}]" in dlq("list")
    assert json.loads(dlq("list", "--json"))[0]["dlqId"] == entry["dlqId"]
    assert result.id in dlq("get", entry["dlqId"])


def test_filters_are_qstash_s(flaky, qstash):
    fail_once(flaky, qstash, "a", label="red")
    fail_once(flaky, qstash, "b", label="blue")

    assert dlq("list", "--label", "red").count("flaky[") == 1
    assert dlq("list", "--limit", "1").count("flaky[") == 1


def test_a_retry_runs_it_once_and_a_duplicate_does_not(flaky, qstash):
    result, entry = fail_once(flaky, qstash)
    flaky.mend()

    assert "sent again" in dlq("retry", entry["dlqId"])
    body = entry["body"].encode()
    assert knock(body, message_id="msg_again").status_code == 200
    assert knock(body, message_id="msg_again", retried=1).status_code == 200
    assert knock(body, message_id=entry["messageId"]).status_code == 200
    assert AsyncResult(result.id).state == "SUCCESS"
    assert Effect.objects.count() == 1


def test_retried_without_the_command_it_does_not_run(flaky, qstash):
    result, entry = fail_once(flaky, qstash)
    flaky.mend()

    knock(entry["body"].encode(), message_id="msg_from_the_console")
    assert AsyncResult(result.id).state == "FAILURE"


def test_what_has_succeeded_meanwhile_is_left_alone(flaky, qstash):
    result, entry = fail_once(flaky, qstash)
    flaky.mend()
    message = TaskMessage.from_dict(json.loads(entry["body"]))
    get_store().reopen(message)
    knock(message, message_id="msg_again")

    assert "Left alone" in dlq("retry", entry["dlqId"])
    assert entry["dlqId"] in dlq("list")
    assert AsyncResult(result.id).state == "SUCCESS"


def test_deleting(flaky, qstash):
    _, entry = fail_once(flaky, qstash)
    assert "1 deleted" in dlq("delete", entry["dlqId"])
    assert "flaky[" not in dlq("list")


def test_all_must_be_said(flaky, qstash):
    fail_once(flaky, qstash)
    with pytest.raises(CommandError, match="--all"):
        dlq("delete")
    dlq("delete", "--all", "--no-input")
    assert "Nothing" in dlq("list")


def test_an_unknown_id_is_one_clear_error(qstash):
    with pytest.raises(CommandError, match="no entry nobody-1"):
        dlq("get", "nobody-1")
