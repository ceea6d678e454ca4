"""Over real sockets: what is sent, what is made of each answer, and how long it may take."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import qstash
import qstash.http
from django.test import override_settings

from django_qstash import clock
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.transport import accounts, get_transport, http
from django_qstash.transport.http import HttpTransport
from django_qstash.wire.envelope import Envelope, Receipt

TOKEN = "test-token"
DOOR = "https://shop.example.com/qstash/webhook/?callback=x"
TAKEN = {"messageId": "msg_1"}


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: Any

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class QStash:
    """A server that answers as it is told, and remembers what it was asked."""

    url: str = ""
    seen: list[Request] = field(default_factory=list)
    #: What it answers: one after another, the last one for ever.
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)

    def says(self, status: int = 200, body: Any = TAKEN, **headers: str) -> None:
        self.answers.append((status, body, headers))

    def answer(self) -> tuple[int, bytes, dict[str, str]]:
        status, body, headers = (
            self.answers.pop(0)
            if len(self.answers) > 1
            else self.answers[0]
            if self.answers
            else (200, TAKEN, {})
        )
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return status, raw, {name.replace("_", "-"): text for name, text in headers.items()}


@contextlib.contextmanager
def serving():
    seen = QStash()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body leave together; apart, each answer would wait for an acknowledgement.
        wbufsize = -1

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): text for name, text in self.headers.items()}
            seen.seen.append(
                Request(self.command, self.path, headers, body, self.connection.getpeername())
            )
            status, raw, extra = seen.answer()
            if status == 0:
                # It hangs up in place of an answer.
                self.close_connection = True
                return
            self.send_response(status)
            for name, text in extra.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = do_PATCH = handle_any

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # Room for all who call at the same moment; the others would call again a second later.
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(settings):
    with serving() as found:
        settings.QSTASH_URL = found.url
        settings.QSTASH_TOKEN = TOKEN
        yield found


@pytest.fixture
def transport():
    made = HttpTransport()
    yield made
    made.close()


@pytest.fixture
def silent(settings):
    """A port where somebody listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.QSTASH_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield settings.QSTASH_URL


@pytest.fixture
def nobody(settings):
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings.QSTASH_URL = f"http://127.0.0.1:{port}"
    return settings.QSTASH_URL


def envelope(body: bytes = b'{"v":1}', **options: Any) -> Envelope:
    return Envelope(url=DOOR, body=body, options=options)


def refusal(call, *args: Any) -> PublishError:
    with pytest.raises(PublishError) as raised:
        call(*args)
    return raised.value


class TestPublish:
    def test_it_posts_the_body_to_qstash_for_our_door(self, server, transport):
        receipt = transport.publish(envelope(b"\xff\x00raw", retries=2, headers={"X-A": "b"}))

        (request,) = server.seen
        assert receipt == Receipt(message_id="msg_1")
        assert (request.method, request.target) == ("POST", f"/v2/publish/{DOOR}")
        assert request.body == b"\xff\x00raw"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["upstash-retries"] == "2"
        assert request.headers["upstash-forward-x-a"] == "b"

    def test_a_queue_stands_in_the_path(self, server, transport):
        transport.publish(envelope(queue="mail.1"))

        assert server.seen[0].target == f"/v2/enqueue/mail.1/{DOOR}"

    def test_a_repetition_is_known_by_the_receipt(self, server, transport):
        server.says(202, {"messageId": "msg_0", "deduplicated": True})

        assert transport.publish(envelope()) == Receipt(message_id="msg_0", deduplicated=True)

    def test_a_url_group_answers_with_a_list(self, server, transport):
        server.says(200, [{"messageId": "msg_1", "url": "https://a"}, {"messageId": "msg_2"}])

        assert transport.publish(envelope()).message_id == "msg_1"

    def test_slashes_at_the_end_of_the_address_do_not_matter(self, server, transport, settings):
        settings.QSTASH_URL = f" {server.url}/ "

        transport.publish(envelope())

        assert server.seen[0].target == f"/v2/publish/{DOOR}"

    @pytest.mark.parametrize("answer", [{}, [], {"messageId": ""}, 7, None, {"error": "no"}, b""])
    def test_an_answer_that_is_no_receipt_is_an_error(self, server, transport, answer):
        server.says(200, answer)

        said = str(refusal(transport.publish, envelope()))

        assert said.startswith(f"QStash at {server.url} refused the message: ")
        assert "Check" in said


class TestBatch:
    def test_it_is_one_request(self, server, transport):
        server.says(200, [{"messageId": "msg_1"}, {"messageId": "msg_2", "deduplicated": True}])

        receipts = transport.batch([envelope(b'{"n":1}', retries=1), envelope(b"2", queue="mail")])

        (request,) = server.seen
        assert (request.method, request.target) == ("POST", "/v2/batch")
        assert request.json == [
            {
                "destination": DOOR,
                "headers": {"Content-Type": "application/json", "Upstash-Retries": "1"},
                "body": '{"n":1}',
                "queue": None,
            },
            {
                "destination": DOOR,
                "headers": {"Content-Type": "application/json"},
                "body": "2",
                "queue": "mail",
            },
        ]
        assert receipts == [
            Receipt(message_id="msg_1"),
            Receipt(message_id="msg_2", deduplicated=True),
        ]

    def test_nothing_is_no_request(self, server, transport):
        assert transport.batch([]) == []
        assert server.seen == []

    def test_an_item_that_was_refused_is_an_error_in_its_place(self, server, transport):
        server.says(200, [{"messageId": "msg_1"}, {"error": "bad url"}, [{"messageId": "msg_3"}]])

        first, second, third = transport.batch([envelope(), envelope(), envelope()])

        assert (first.message_id, third.message_id) == ("msg_1", "msg_3")
        assert isinstance(second, PublishError)
        assert "bad url" in str(second)

    @pytest.mark.parametrize("answer", [[], [TAKEN], [TAKEN] * 3, {}, TAKEN, None])
    def test_another_number_of_answers_is_an_error(self, server, transport, answer):
        server.says(200, answer)

        said = str(refusal(transport.batch, [envelope(), envelope()]))

        assert server.url in said
        assert "a batch of 2 messages" in said


class TestOtherCalls:
    def test_a_message_is_cancelled(self, server, transport):
        server.says(200, {"cancelled": 1})

        assert transport.cancel("msg_a/b") is True
        assert (server.seen[0].method, server.seen[0].target) == (
            "DELETE",
            "/v2/messages/msg_a%2Fb",
        )

    @pytest.mark.parametrize("answer", [b"", b"Accepted", b'{"cancelled":1}'])
    def test_whatever_qstash_says_to_it(self, server, transport, answer):
        server.says(202, answer)

        assert transport.cancel("msg_1") is True

    def test_a_message_that_is_gone_cannot_be(self, server, transport):
        server.says(404, {"error": "not found"})

        assert transport.cancel("msg_1") is False

    def test_any_other_answer_to_it_is_an_error(self, server, transport):
        server.says(500, b"")

        assert refusal(transport.cancel, "msg_1").status == 500

    def test_any_call_can_be_made(self, server, transport):
        server.says(200, {"current": "a", "next": "b"})

        assert transport.request("GET", "/v2/keys") == {"current": "a", "next": "b"}
        assert (server.seen[0].method, server.seen[0].target) == ("GET", "/v2/keys")
        assert server.seen[0].body == b""

    def test_with_a_body_it_is_json(self, server, transport):
        server.says(200, [])

        assert transport.request("POST", "/v2/queues", {"queueName": "é"}) == []
        assert server.seen[0].json == {"queueName": "é"}
        assert server.seen[0].headers["content-type"] == "application/json"

    @pytest.mark.parametrize("answer", [b"", b"OK", b"null"])
    def test_what_is_said_after_a_deed_may_be_nothing(self, server, transport, answer):
        server.says(200, answer)

        assert transport.request("PATCH", "/v2/schedules/scd_1/pause") is None

    def test_what_was_asked_for_must_be_json(self, server, transport):
        server.says(200, b"OK")

        assert "not JSON: OK" in str(refusal(transport.request, "GET", "/v2/keys"))


class TestQueues:
    def ask(self, server, transport):
        transport.prepare_queue("mail", 5)
        return [(request.method, request.target) for request in server.seen]

    def test_one_that_is_right_is_left_alone(self, server, transport):
        server.says(200, {"name": "mail", "parallelism": 5, "paused": True})

        assert self.ask(server, transport) == [("GET", "/v2/queues/mail")]

    @pytest.mark.parametrize("paused", [True, False])
    def test_one_that_is_not_is_changed_and_stays_paused(self, server, transport, paused):
        server.says(200, {"name": "mail", "parallelism": 1, "paused": paused})
        server.says(200, b"")

        assert self.ask(server, transport)[1] == ("POST", "/v2/queues")
        assert server.seen[1].json == {"queueName": "mail", "parallelism": 5, "paused": paused}

    def test_one_that_is_not_there_is_made(self, server, transport):
        server.says(404, {"error": "not found"})
        server.says(200, b"")

        assert self.ask(server, transport)[1] == ("POST", "/v2/queues")
        assert server.seen[1].json == {"queueName": "mail", "parallelism": 5, "paused": False}


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "said", "check"),
        [
            (400, "invalid destination url", "Check the address and the delivery options"),
            (401, "unable to authenticate: invalid token", "Check QSTASH_TOKEN"),
            (403, "forbidden", "Check that QSTASH_URL is right"),
            (404, "not found", "Check that QSTASH_URL is the address of a QStash server"),
            (412, "quota maxDelay exceeded", "Check the limits of your QStash plan"),
            (301, "moved", "Check that QSTASH_URL is right"),
            (500, "internal", "Check that QSTASH_URL is right"),
            (503, "unavailable", "it may work again shortly"),
        ],
    )
    def test_it_names_address_status_reason_and_what_to_check(
        self, server, transport, status, said, check
    ):
        server.says(status, {"error": said})

        error = refusal(transport.publish, envelope())

        assert error.status == status
        assert str(error).startswith(f"QStash at {server.url} answered {status}: {said}. ")
        assert check in str(error)
        assert len(server.seen) == 1

    @pytest.mark.parametrize(
        "headers", [{"RateLimit_Limit": "500"}, {"Burst_RateLimit_Limit": "9"}, {}]
    )
    def test_too_many_messages(self, server, transport, headers):
        server.says(429, {"error": "slow down"}, **headers)

        error = refusal(transport.publish, envelope())

        assert error.status == 429
        assert str(error).startswith(f"QStash at {server.url} accepts no more messages for now: ")
        assert "Check the limits of your QStash plan" in str(error)
        for limit in headers.values():
            assert limit in str(error)

    @pytest.mark.parametrize("status", [200, 201, 404, 502])
    def test_a_page_from_some_other_server(self, server, transport, status):
        server.says(status, b"<html>\n" + b"<p>nginx</p>\n" * 1000)

        said = str(refusal(transport.publish, envelope()))

        assert server.url in said
        assert "<html> <p>nginx</p>" in said
        assert "Check that QSTASH_URL is" in said
        assert len(said) < 600

    @pytest.mark.parametrize("answer", [b'"a text"', b"[1]", b"{}", b"[" * 9999, b"\xff\xfe", b""])
    def test_an_error_that_is_not_as_qstash_words_it(self, server, transport, answer):
        server.says(500, answer)

        assert refusal(transport.publish, envelope()).status == 500

    def test_nothing_deep_breaks_it(self, server, transport):
        server.says(200, b"[" * 99_999)

        assert "not JSON" in str(refusal(transport.publish, envelope()))


class TestOutOfReach:
    def test_a_port_where_nobody_listens(self, nobody, transport):
        began = time.monotonic()

        said = str(refusal(transport.publish, envelope()))

        assert time.monotonic() - began < 2
        assert said.startswith(f"QStash at {nobody} cannot be reached: ")
        assert "Check QSTASH_URL" in said
        assert "manage.py qstash_dev" in said

    @pytest.mark.parametrize("call", ["publish", "batch", "cancel", "request", "prepare_queue"])
    def test_every_call_says_so(self, nobody, transport, call):
        arguments = {
            "publish": [envelope()],
            "batch": [[envelope()]],
            "cancel": ["msg_1"],
            "request": ["GET", "/v2/keys"],
            "prepare_queue": ["mail", 1],
        }

        error = refusal(getattr(transport, call), *arguments[call])

        assert nobody in str(error)
        assert error.status is None

    @pytest.mark.parametrize("retries", [0, 3])
    def test_a_server_that_never_answers_is_waited_for_once(
        self, silent, transport, settings, retries
    ):
        settings.DJANGO_QSTASH_PUBLISH_TIMEOUT = 0.1
        settings.DJANGO_QSTASH_PUBLISH_RETRIES = retries
        began = time.monotonic()

        said = str(refusal(transport.publish, envelope()))

        assert time.monotonic() - began < 1
        assert said.startswith(f"QStash at {silent} did not answer within 0.1 s. Check QSTASH_URL")
        assert "may or may not have arrived" in said

    def test_it_is_tried_as_often_as_the_settings_say(self, server, transport, settings):
        settings.DJANGO_QSTASH_PUBLISH_RETRIES = 3
        server.says(0)
        with clock.use(clock.VirtualClock()) as virtual:
            start = virtual.time()
            said = str(refusal(transport.publish, envelope()))

            assert virtual.time() - start == pytest.approx(http.PAUSE * (1 + 2 + 4))
        assert len(server.seen) == 4
        assert said.startswith(f"QStash at {server.url} cannot be reached: ")

    def test_a_connection_that_broke_is_made_again(self, server, transport):
        server.says(0)
        server.says()

        with clock.use(clock.VirtualClock()):
            assert transport.publish(envelope()).message_id == "msg_1"

    def test_an_answer_is_never_asked_for_twice(self, server, transport, settings):
        settings.DJANGO_QSTASH_PUBLISH_RETRIES = 3
        server.says(500, b"")

        refusal(transport.publish, envelope())

        assert len(server.seen) == 1

    def test_a_server_that_wants_no_tls(self, server, transport, settings):
        settings.QSTASH_URL = server.url.replace("http:", "https:")
        settings.DJANGO_QSTASH_PUBLISH_RETRIES = 0

        assert "cannot be reached" in str(refusal(transport.publish, envelope()))

    def test_a_certificate_that_is_not_trusted_is_no_matter_of_reach(self):
        error = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")

        said = str(http._translate(error, accounts.find("")))

        assert said.startswith("The certificate of QStash at https://qstash.upstash.io is not trus")
        assert "DJANGO_QSTASH_VERIFY_SSL" in said

    def test_the_cause_is_kept(self, nobody, transport):
        assert isinstance(refusal(transport.publish, envelope()).__cause__, httpx.ConnectError)

    def test_what_http_cannot_carry_is_no_crash_and_shows_no_secret(self, server, transport):
        error = refusal(transport.publish, envelope(headers={"X": "é\n"}))

        assert server.url in str(error)
        assert TOKEN not in str(error)

    @pytest.mark.parametrize(
        "kind",
        [k for k in vars(httpx).values() if isinstance(k, type) and issubclass(k, Exception)],
    )
    def test_no_error_of_httpx_gets_out(self, kind):
        if issubclass(kind, httpx.StreamError) and kind is not httpx.StreamError:
            error = kind()
        elif kind is httpx.HTTPStatusError:
            error = kind("x", request=None, response=None)
        else:
            error = kind("x")

        made = http._translate(error, accounts.find(""))

        assert type(made) is PublishError
        assert "https://qstash.upstash.io" in str(made)
        assert "Check" in str(made)


class TestSettings:
    def test_without_a_token_it_says_where_to_find_one(self, transport, settings):
        settings.QSTASH_TOKEN = ""

        with pytest.raises(ImproperlyConfigured, match="QSTASH_TOKEN is not set.*Upstash console"):
            transport.publish(envelope())

    @pytest.mark.parametrize("token", ["a b", "s3cret\nX: y", "s3crét", "s3cret\0"])
    def test_a_token_that_is_none_is_refused_without_being_shown(self, transport, settings, token):
        settings.QSTASH_TOKEN = token

        with pytest.raises(ImproperlyConfigured) as raised:
            transport.publish(envelope())

        assert str(raised.value) == "QSTASH_TOKEN holds characters that no token has."

    def test_a_token_from_a_file_may_end_its_line(self, server, transport, settings):
        settings.QSTASH_TOKEN = f"{TOKEN}\n"

        transport.publish(envelope())

        assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"

    @pytest.mark.parametrize(
        "url",
        ["qstash.upstash.io", "ftp://x", "http://", "http://[::1", "http://x:eight", "x y", "/v2"],
    )
    def test_an_address_that_is_none_is_refused(self, transport, settings, url):
        settings.QSTASH_URL = url

        with pytest.raises(ImproperlyConfigured) as raised:
            transport.publish(envelope())

        assert str(raised.value).startswith(
            f"QSTASH_URL={url!r} is not an address such as https://"
        )

    def test_changes_are_honoured(self, server, transport, settings):
        transport.publish(envelope())
        with serving() as other:
            with override_settings(QSTASH_URL=other.url, QSTASH_TOKEN="another"):
                transport.publish(envelope())
            transport.publish(envelope())

            assert other.seen[0].headers["authorization"] == "Bearer another"
        assert len(server.seen) == 2

    def test_the_time_out_is_honoured_at_once(self, server, transport, settings):
        transport.publish(envelope())
        settings.DJANGO_QSTASH_PUBLISH_TIMEOUT = 0.25

        assert transport._client().http._client.timeout == httpx.Timeout(0.25)

    def test_a_proxy_is_not_asked_for_this_machine(self, server, transport, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

        assert transport.publish(envelope()).message_id == "msg_1"

    def test_a_proxy_is_asked_for_the_world(self, server, transport, settings, monkeypatch):
        settings.QSTASH_URL = "http://qstash.example"
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", server.url)

        assert transport.publish(envelope()).message_id == "msg_1"
        assert server.seen[0].target.startswith("http://qstash.example/v2/publish/")


class TestTheSdk:
    """What we lean on in the SDK beyond its documentation. A new release must keep it."""

    def test_it_keeps_its_http_client_where_we_replace_it(self):
        client = qstash.QStash("token", retry=False)

        assert isinstance(client.http, qstash.http.HttpClient)
        assert type(client.http._client) is httpx.Client
        assert client.http._client.timeout != httpx.Timeout(5)
        client.http._client.close()

    def test_its_request_takes_what_we_give(self):
        parameters = inspect.signature(qstash.http.HttpClient.request).parameters

        assert {"path", "method", "headers", "body", "parse_response"} <= parameters.keys()
        assert parameters["parse_response"].kind is inspect.Parameter.KEYWORD_ONLY

    def test_it_uses_the_client_that_we_gave_it(self, server, transport):
        transport.publish(envelope())
        client = transport._client().http._client

        assert client.timeout == httpx.Timeout(5)
        client.close()
        with pytest.raises(PublishError):
            transport.publish(envelope())

    def test_its_errors_are_worded_as_we_read_them(self):
        response = httpx.Response(418, text="a pot")

        with pytest.raises(qstash.errors.QStashError) as raised:
            qstash.http.raise_for_non_ok_status(response)

        assert http._status_and_reason(str(raised.value)) == (418, "a pot")

    def test_an_error_that_it_words_otherwise_is_still_one(self):
        made = http._translate(qstash.errors.QStashError("something else"), accounts.find(""))

        assert made.status is None
        assert "answered with an error: something else. Check" in str(made)


class TestConnections:
    def test_one_is_kept_for_all_publishes(self, server, transport):
        for _ in range(20):
            transport.publish(envelope())
        server.says(200, [TAKEN])
        transport.batch([envelope()])

        assert len({request.connection for request in server.seen}) == 1

    def test_threads_share_a_transport(self, server, transport):
        barrier = threading.Barrier(8)
        clients, errors = set(), []

        def publish():
            barrier.wait()
            try:
                for _ in range(5):
                    transport.publish(envelope())
                    clients.add(id(transport._client()))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert errors == []
        assert len(clients) == 1
        assert len(server.seen) == 40
        assert len({request.connection for request in server.seen}) <= 8

    def test_threads_that_come_first_share_one_transport(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        barrier = threading.Barrier(8)
        found = []

        def get():
            barrier.wait()
            found.append(get_transport())

        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(set(map(id, found))) == 1

    def test_after_closing_it_opens_another(self, server, transport):
        transport.publish(envelope())
        transport.close()
        transport.close()
        transport.publish(envelope())

        assert len({request.connection for request in server.seen}) == 2

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_process_opens_its_own(self, server):
        """In a process of its own: a test run with threads must not fork."""
        code = """
            import os, sys, threading
            import django
            from django.conf import settings
            settings.configure(QSTASH_URL=sys.argv[1], QSTASH_TOKEN="t")
            from django_qstash.transport import get_transport, http
            from django_qstash.wire.envelope import Envelope

            envelope = Envelope(url="https://a.example/", body=b"{}")
            transport = get_transport()
            transport.publish(envelope)
            before = transport._client()
            # A thread that makes a client when the fork happens stays behind with the lock.
            http._making.acquire()
            child = os.fork()
            if not child:
                transport.publish(envelope)
                os._exit(0 if transport._client() is not before else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            http._making.release()
            transport.publish(envelope)
            assert transport._client() is before
            transport.close()
        """

        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), server.url],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        connections = [request.connection for request in server.seen]
        assert connections[0] == connections[2] != connections[1]


class TestAgainstTheEmbeddedServer:
    @pytest.fixture
    def embedded(self, settings):
        devserver = pytest.importorskip("django_qstash.devserver.embedded")
        with devserver.EmbeddedServer(clock=clock.VirtualClock()) as running:
            settings.QSTASH_URL = running.url
            settings.QSTASH_TOKEN = running.token
            yield running

    def test_publish_and_cancel(self, embedded, transport):
        receipt = transport.publish(envelope(delay="60s", retries=1))

        message = transport.request("GET", f"/v2/messages/{receipt.message_id}")
        assert (message["url"], message["maxRetries"], message["body"]) == (DOOR, 1, '{"v":1}')
        assert transport.cancel(receipt.message_id) is True
        assert transport.cancel(receipt.message_id) is False
        assert transport.cancel("msg_unknown") is False

    def test_an_equal_message_is_taken_once(self, embedded, transport):
        first = transport.publish(envelope(delay="60s", deduplication_id="a"))
        second = transport.publish(envelope(delay="60s", deduplication_id="a"))

        assert second == Receipt(message_id=first.message_id, deduplicated=True)

    def test_a_batch_in_which_one_is_refused(self, embedded, transport):
        good = envelope(delay="60s")
        bad = Envelope(url="ftp://x", body=b"{}")

        first, second, third = transport.batch([good, bad, good])

        assert first.message_id != third.message_id
        assert isinstance(second, PublishError)

    def test_a_queue_is_prepared_and_used(self, embedded, transport):
        transport.prepare_queue("mail", 3)
        transport.request("POST", "/v2/queues/mail/pause")
        transport.prepare_queue("mail", 4)
        transport.publish(envelope(queue="mail"))

        queue = transport.request("GET", "/v2/queues/mail")
        assert (queue["parallelism"], queue["paused"], queue["lag"]) == (4, True, 1)

    def test_a_wrong_token_is_refused(self, embedded, transport, settings):
        settings.QSTASH_TOKEN = "wrong"

        error = refusal(transport.publish, envelope())

        assert error.status == 401
        assert "Check QSTASH_TOKEN" in str(error)
