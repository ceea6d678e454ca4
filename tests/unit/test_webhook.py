"""The door: what is let in, what is refused, and what each is answered."""

from __future__ import annotations

import json
import logging

import pytest
from django.db import DatabaseError, OperationalError
from django.test import Client, RequestFactory
from django.urls import resolve

from django_qstash import conf, shared_task
from django_qstash.results.models import TaskResult
from django_qstash.tasks.registry import tasks as registry
from django_qstash.views import qstash_webhook_view
from django_qstash.webhook import shutdown
from tests.door import given_up, knock, letter
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db


@pytest.fixture
def temporary_task():
    """Registers tasks for one test."""
    names = set(registry)
    yield shared_task
    for name in set(registry) - names:
        registry.unregister(name)


def test_a_signed_letter_is_run():
    response = knock(letter("tests.shop.tasks.note", "paid"))

    assert response.status_code == 200
    assert response.json() == {"status": "success"}
    assert Effect.objects.count() == 1


def test_the_next_key_opens_as_well(settings):
    response = knock(letter("tests.shop.tasks.note", "paid"), key=settings.QSTASH_NEXT_SIGNING_KEY)

    assert response.status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "sig_somebodyelsesomebodyelsesomebody"},
        {"url": "https://other.example.com/qstash/webhook/"},
        {"url": "https://shop.example.com/qstash/webhook"},
        {"url": "http://shop.example.com/qstash/webhook/"},
        {"signed_body": b"{}"},
        {"age": 300 + 31},
        {"age": -31},
        {"signature_header": "not.a.token"},
        {"signature_header": ""},
        {"query": "callback=given-up", "url": "https://shop.example.com/qstash/webhook/"},
    ],
    ids=str,
)
def test_what_qstash_did_not_sign_for_us_is_refused_and_nothing_runs(wrong, caplog):
    response = knock(letter("tests.shop.tasks.note", "paid"), **wrong)

    assert response.status_code == 401
    assert not Effect.objects.exists()
    assert not TaskResult.rows.exists()
    assert "was refused" in caplog.text


@pytest.mark.parametrize("age", [300 + 29, -29])
def test_clocks_may_differ_by_the_tolerance(age):
    assert knock(letter("tests.shop.tasks.note", "paid"), age=age).status_code == 200


def test_the_refusal_tells_a_stranger_nothing():
    answer = knock(letter("tests.shop.tasks.note", "paid"), key="sig_" + "x" * 28).content.decode()

    assert "key" not in answer
    assert "sig_" not in answer


def test_the_host_header_does_not_decide_for_whom_it_was_signed():
    response = knock(
        letter("tests.shop.tasks.note", "paid"),
        url="https://staging.example.com/qstash/webhook/",
        HTTP_HOST="staging.example.com",
    )

    assert response.status_code == 401


def test_without_keys_everything_is_refused(settings):
    settings.QSTASH_CURRENT_SIGNING_KEY = ""
    settings.QSTASH_NEXT_SIGNING_KEY = ""

    for key in ("sig_" + "x" * 28, conf.DEVELOPMENT_CURRENT_KEY):
        assert knock(letter("tests.shop.tasks.note", "paid"), key=key).status_code == 401


class TestDevelopmentKeys:
    """Everybody knows them, so they count on this machine only."""

    @pytest.fixture(autouse=True)
    def keys(self, settings):
        settings.QSTASH_CURRENT_SIGNING_KEY = conf.DEVELOPMENT_CURRENT_KEY
        settings.QSTASH_NEXT_SIGNING_KEY = conf.DEVELOPMENT_NEXT_KEY
        self.settings = settings

    def knock(self, **extra):
        return knock(letter("tests.shop.tasks.note", "paid"), **extra).status_code

    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    def test_from_loopback(self, peer):
        assert self.knock(REMOTE_ADDR=peer) == 200

    @pytest.mark.parametrize("peer", ["10.0.0.7", "203.0.113.9", "", "2001:db8::1"])
    def test_not_from_elsewhere(self, peer):
        assert self.knock(REMOTE_ADDR=peer) == 401

    @pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP"])
    def test_not_through_a_proxy_or_tunnel_on_this_machine(self, header):
        assert self.knock(REMOTE_ADDR="127.0.0.1", **{header: "203.0.113.9"}) == 401

    def test_from_a_container_where_a_project_in_debug_names_them(self):
        self.settings.DEBUG = True

        assert self.knock(REMOTE_ADDR="172.17.0.2") == 200
        assert self.knock(REMOTE_ADDR="8.8.8.8") == 401

    def test_not_at_all_without_debug(self, monkeypatch, caplog):
        monkeypatch.delattr("django.core.mail.outbox")

        assert self.knock(REMOTE_ADDR="127.0.0.1") == 401
        assert "which everybody knows" in caplog.text

    def test_by_default_in_debug_from_loopback_only(self):
        self.settings.DEBUG = True
        for name in ("QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
            setattr(self.settings, name, "")

        key = conf.DEVELOPMENT_CURRENT_KEY
        assert self.knock(key=key, REMOTE_ADDR="127.0.0.1") == 200
        assert self.knock(key=key, REMOTE_ADDR="172.17.0.2") == 401


def test_only_post_is_delivered():
    response = Client().get("/qstash/webhook/")

    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_delivered(kind):
    response = knock(letter("tests.shop.tasks.note", "paid"), content_type=kind)

    assert response.status_code == 415
    assert not Effect.objects.exists()


def test_a_charset_beside_the_content_type_does_no_harm():
    response = knock(
        letter("tests.shop.tasks.note", "paid"), content_type="application/json; charset=utf-8"
    )

    assert response.status_code == 200


def test_a_body_over_our_limit_is_refused_before_its_signature_is_looked_at(settings):
    settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 100

    response = knock(letter("tests.shop.tasks.note", "x" * 100), signature_header="nonsense")

    assert response.status_code == 413
    assert "DJANGO_QSTASH_MAX_PAYLOAD_SIZE" in response.content.decode()


def test_no_more_of_a_large_body_is_read_than_our_limit(settings):
    settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 100
    request = RequestFactory().post(
        "/qstash/webhook/", data=b"x" * 10_000, content_type="application/json"
    )

    assert qstash_webhook_view(request).status_code == 413
    assert len(request.read()) == 10_000 - 101


def test_a_failure_callback_holds_a_letter_of_any_size_that_is_taken(settings):
    settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 10_000
    large = letter("tests.shop.tasks.note", "x" * 9_000)

    assert given_up(large).json()["status"] == "sent again"
    assert knock(b"x" * 100_000, query="callback=given-up").status_code == 413


def test_django_s_own_limit_does_not_refuse_what_ours_allows(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    assert knock(letter("tests.shop.tasks.add", "x" * 2000, "y")).status_code == 200


def test_csrf_protection_does_not_concern_qstash():
    client = Client(enforce_csrf_checks=True)

    assert knock(letter("tests.shop.tasks.note", "paid"), client=client).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"not json",
        b"[]",
        b"7",
        b"{}",
        b'{"v": 1}',
        b"\xff\xfe",
        b'{"v":1,"kind":"task"}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_signed_body_that_is_no_letter_stays_in_the_dead_letter_queue(body):
    response = knock(body)

    assert response.status_code == 489
    assert response.headers["Upstash-NonRetryable-Error"] == "true"


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 7},
        {"run": None},
        {"args": {}},
        {"kwargs": []},
        {"retries": "1"},
        {"retries": True},
        {"eta": "tomorrow"},
    ],
    ids=str,
)
def test_a_letter_with_a_field_of_a_wrong_type_is_a_bad_letter(wrong):
    body = {"v": 1, "kind": "task", "task": "tests.shop.tasks.note", "id": "a", "run": "b"}

    assert knock({**body, **wrong}).status_code == 489


def test_an_unknown_task_is_tried_again_by_qstash_since_a_deployment_may_bring_it():
    response = knock(letter("tests.shop.tasks.nota", "paid"))

    assert response.status_code == 404
    assert "tests.shop.tasks.note" in response.json()["detail"]
    assert not TaskResult.rows.exists()


@pytest.mark.parametrize("kind", ["callback", "parcel"])
def test_a_letter_of_a_kind_that_nobody_here_opens_is_tried_again(kind):
    assert knock({"v": 1, "kind": kind}).status_code == 404


def test_a_letter_of_a_newer_version_waits_for_a_process_that_can_read_it():
    assert knock({"v": 99, "kind": "task"}).status_code == 404


def test_a_callback_that_nobody_knows_is_tried_again():
    assert knock({}, query="callback=parcel").status_code == 404


def test_the_answer_holds_neither_result_nor_traceback():
    ok = knock(letter("tests.shop.tasks.add", "sec", "ret")).content
    failed = knock(letter("tests.shop.tasks.fail", "secret")).content

    assert b"secret" not in ok + failed


def test_a_failure_is_for_good(caplog):
    response = knock(letter("tests.shop.tasks.fail"))

    assert response.status_code == 489
    assert response.headers["Upstash-NonRetryable-Error"] == "true"


def test_the_older_payload_is_understood():
    body = {
        "function": "note",
        "module": "tests.shop.tasks",
        "args": ["old"],
        "kwargs": {},
        "task_name": "note",
        "options": {},
    }

    assert knock(body, message_id="msg_old").status_code == 200
    assert knock(body, message_id="msg_old", retried=1).status_code == 200
    assert [effect.name for effect in Effect.objects.all()] == ["old"]

    assert knock(body, message_id="msg_older").status_code == 200
    assert Effect.objects.count() == 2


def test_a_locked_database_is_not_the_task_s_failure(temporary_task):
    runs = []

    @temporary_task(name="locked")
    def locked():
        runs.append(1)
        if len(runs) == 1:
            raise OperationalError("database is locked")
        return "done"

    message = letter("locked")
    response = knock(message)

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert knock(message, retried=1).status_code == 200
    assert TaskResult.objects.get().status == "SUCCESS"


def test_another_database_error_is_the_task_s_failure(temporary_task):
    @temporary_task(name="broken")
    def broken():
        raise DatabaseError("no such column")

    assert knock(letter("broken")).status_code == 489


class TestUnsignedRequestsAreCounted:
    @pytest.fixture(autouse=True)
    def limit(self, settings):
        settings.DJANGO_QSTASH_WEBHOOK_RATE_LIMIT = "2/m"
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "LOCATION": "counted",
            }
        }
        from django.core.cache import cache

        cache.clear()

    def test_over_the_limit_they_get_429(self):
        message = letter("tests.shop.tasks.note", "paid")
        statuses = [knock(message, signature_header="x").status_code for _ in range(3)]

        assert statuses == [401, 401, 429]
        assert knock(message, signature_header="x").headers["Retry-After"]

    def test_signed_deliveries_are_never_counted(self):
        for _ in range(4):
            assert knock(letter("tests.shop.tasks.note", "paid")).status_code == 200

    def test_each_address_has_its_own_count(self):
        message = letter("tests.shop.tasks.note", "paid")
        for peer in ("192.0.2.1", "192.0.2.2"):
            for _ in range(2):
                assert knock(message, signature_header="x", REMOTE_ADDR=peer).status_code == 401


def test_the_view_is_never_wrapped_in_a_transaction_whichever_database_asks_for_it():
    view = resolve("/qstash/webhook/").func

    assert "default" in view._non_atomic_requests
    assert "any other" in view._non_atomic_requests


@pytest.mark.django_db(transaction=True)
def test_the_claim_is_committed_before_the_body_runs_even_with_atomic_requests(
    settings, temporary_task
):
    from django.db import connection

    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    seen = []

    @temporary_task(name="nested")
    def nested():
        seen.append(connection.in_atomic_block)

    try:
        assert knock(letter("nested")).status_code == 200
    finally:
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert seen == [False]


def test_a_site_that_asks_everybody_to_log_in_lets_qstash_in():
    assert resolve("/qstash/webhook/").func.login_required is False


@pytest.mark.django_db(transaction=True)
def test_a_missing_table_is_named_and_the_delivery_comes_again(caplog):
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.delete_model(TaskResult)
    try:
        response = knock(letter("tests.shop.tasks.note", "paid"))
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(TaskResult)

    assert response.status_code == 503
    assert "manage.py migrate" in caplog.text


def test_while_shutting_down_deliveries_are_sent_back(monkeypatch):
    monkeypatch.setattr(shutdown, "_stopping", True)

    response = knock(letter("tests.shop.tasks.note", "paid"))

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert not TaskResult.rows.exists()
    # A second process that stops is not asked a second later.
    again = knock(letter("tests.shop.tasks.note", "paid"), retried=2)
    assert again.status_code == 503
    assert "Retry-After" not in again.headers


def test_arguments_are_not_logged(caplog):
    caplog.set_level(logging.DEBUG)

    knock(letter("tests.shop.tasks.fail", "4111-1111"))
    knock(letter("tests.shop.tasks.add", "4111-", "1111"))

    assert not [r for r in caplog.records if "4111-" in r.getMessage() and "raised" not in r.msg]


def test_every_answer_is_json():
    for response in (
        knock(letter("tests.shop.tasks.add", 1, 2)),
        knock(b"", signature_header="x"),
        Client().get("/qstash/webhook/"),
    ):
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(response.content)["status"]
