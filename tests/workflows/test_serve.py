"""A view of its own for a workflow: who may start a run by it, and with what."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import path

from django_qstash import clock
from django_qstash.webhook.serve import serve
from django_qstash.wire import signature
from django_qstash.workflows.models import WorkflowRun
from tests.shop import workflows as w
from tests.urls import urlpatterns as of_the_site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

KEY = "sig_currentcurrentcurrentcurrent"


def by_header(request):
    return request.headers.get("X-Key") == "let me in"


urlpatterns = [
    *of_the_site,
    path("start/", serve(w.plain)),
    path("open/", serve("shop.plain", authorize=by_header)),
    path("lines/", serve(w.plain, initial_payload_parser=str.splitlines, authorize=by_header)),
    path("named/", serve(w.add_up, authorize=by_header)),
]


def post(url, body="", **headers):
    return Client().post(url, body, content_type="text/plain", headers=headers)


def signed(url, body, sub="https://shop.example.com/start/", **headers):
    token = signature.sign(body.encode(), url=sub, key=KEY, now=clock.time())
    return post(url, body, **{"Upstash-Signature": token, **headers})


def let_in(url, body="", **headers):
    return post(url, body, **{"X-Key": "let me in", **headers})


class TestWhoMay:
    def test_qstash_by_its_signature_for_this_address(self, loopback):
        answer = signed("/start/", '{"a": 1}')

        assert answer.status_code == 200
        run = WorkflowRun.objects.get(run_id=answer.json()["workflowRunId"])
        assert run.result == {"got": {"a": 1}}

    def test_nobody_else(self, outbox):
        assert post("/start/").status_code == 401
        assert signed("/start/", "", sub="https://shop.example.com/other/").status_code == 401
        assert post("/open/", **{"X-Key": "wrong"}).status_code == 401
        assert not WorkflowRun.objects.exists()

    def test_whom_the_site_lets_in(self, loopback):
        assert let_in("/open/").status_code == 200

    def test_only_with_post(self, outbox):
        assert Client().get("/start/").status_code == 405

    def test_what_authorizes_must_be_a_function(self):
        with pytest.raises(TypeError, match="authorize=True must be a function"):
            serve(w.plain, authorize=True)


class TestWithWhat:
    @pytest.mark.parametrize(
        ("body", "data"), [("", None), ("[1, 2]", [1, 2]), ("plain words", "plain words")]
    )
    def test_nothing_json_or_text(self, loopback, body, data):
        let_in("/open/", body)

        assert WorkflowRun.objects.get().data == data

    def test_a_parser_of_the_sites(self, loopback):
        let_in("/lines/", "a\nb")

        assert WorkflowRun.objects.get().data == ["a", "b"]

    def test_what_does_not_fit_is_refused(self, outbox):
        answer = let_in("/named/", json.dumps({"x": 1}))

        assert answer.status_code == 400
        assert "missing a required argument: 'a'" in answer.json()["error"]
        assert let_in("/open/", b"\xff").status_code == 400
        assert not WorkflowRun.objects.exists()

    def test_too_much_is_refused(self, outbox, settings):
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 10
        assert let_in("/open/", "x" * 11).status_code == 413

    def test_the_same_request_twice_is_one_run(self, outbox):
        first = let_in("/open/", "1", **{"Idempotency-Key": "a"})
        second = let_in("/open/", "1", **{"Idempotency-Key": "a"})
        other = let_in("/open/", "2", **{"Idempotency-Key": "a"})

        assert first.json() == second.json()
        assert other.status_code == 409
        twice = [signed("/start/", "1", **{"Upstash-Message-Id": "msg_7"}) for _ in range(2)]
        assert twice[0].json() == twice[1].json()

    def test_qstash_away_is_told(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        assert let_in("/open/", "1").status_code == 503
