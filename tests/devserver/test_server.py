"""What only real sockets show: pages of other sites, bodies, connections."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from django_qstash.devserver.origin import is_foreign, is_local_name
from tests.devserver.receiver import Answers

if TYPE_CHECKING:
    from django_qstash.devserver.embedded import EmbeddedServer


def raw(server: EmbeddedServer, request: bytes) -> bytes:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1:8585", True),
        ("localhost", True),
        ("[::1]:8585", True),
        ("192.168.1.5:8585", True),
        ("qstash:8585", True),
        ("app.localhost:1", True),
        ("mac.local", True),
        ("host.docker.internal:8585", True),
        ("dev.example.com", True),
        ("evil.com", False),
        ("127.0.0.1.evil.com", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_names_that_a_stranger_could_point_here_are_not_local(host, local):
    assert is_local_name(host, {"dev.example.com"}) is local


def test_only_the_servers_own_page_may_talk_to_it():
    assert not is_foreign("", "127.0.0.1:8585")
    assert not is_foreign("http://127.0.0.1:8585", "127.0.0.1:8585")
    assert is_foreign("https://evil.com", "127.0.0.1:8585")
    assert is_foreign("null", "127.0.0.1:8585")
    assert is_foreign("http://localhost:3000", "localhost:8585")
    # A name that was pointed here after the page was loaded.
    assert is_foreign("http://evil.com:8585", "evil.com:8585")
    assert is_foreign("http://[", "127.0.0.1:8585")


def test_a_foreign_page_is_403_whatever_it_asks(server):
    headers = {"Origin": "https://evil.com", "Authorization": f"Bearer {server.token}"}
    for method, path in (("GET", "/"), ("POST", "/v2/publish/http://a.dev"), ("GET", "/v2/keys")):
        answer = httpx.request(method, server.url + path, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.json()["error"]
    rebound = {"Host": "evil.com", "Authorization": f"Bearer {server.token}"}
    for path in ("/", "/_dev/overview", "/_dev/stream"):
        assert httpx.get(server.url + path, headers=rebound).status_code == 403
    # An application may know the server under any name.
    assert httpx.get(server.url + "/v2/keys", headers=rebound).status_code == 200


def test_the_stream_wants_the_token_and_tells_of_changes(server):
    assert httpx.get(server.url + "/_dev/stream").status_code == 401
    url = f"{server.url}/_dev/stream?qstash_token={server.token}"
    with httpx.stream("GET", url) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        headers = {"Authorization": f"Bearer {server.token}", "Upstash-Delay": "1m"}
        httpx.post(f"{server.url}/v2/publish/http://a.dev", headers=headers)
        assert "event: change" in [next(lines), next(lines)]


def test_what_is_no_http_is_400_with_an_error(server):
    for request in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n", b"\x16\x03\x01\x00"):
        head, _, body = raw(server, request).partition(b"\r\n\r\n")
        assert b" 400 " in head.splitlines()[0]
        assert json.loads(body)["error"]


def test_a_client_that_waits_to_be_invited_is_invited(server):
    answer = raw(
        server,
        b"POST /v2/publish/http://a.dev HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: Bearer " + server.token.encode() + b"\r\n"
        b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_chunks_absolute_targets_and_raw_paths(server):
    token = server.token.encode()
    answer = raw(
        server,
        b"POST http://proxy/v2/publish/https://a.dev//b/../c?x=%2F HTTP/1.1\r\nHost: x\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer "
        + token
        + b"\r\n"
        b"\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    assert b'"url":"https://a.dev//b/../c?x=%2F"' in answer


def test_a_body_over_the_limit_is_412_before_it_is_read_to_its_end(server):
    answer = raw(
        server,
        b"POST /v2/publish/http://a.dev HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
        b"Content-Length: 11000000\r\n\r\n" + b"x" * 11_000_000,
    )
    assert b" 412 " in answer.splitlines()[0]
    assert b"quota maxMessageSize exceeded, current limit: 10485760" in answer


def test_a_body_that_breaks_off_is_no_problem_of_ours(server, caplog):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            b"POST /v2/publish/http://a.dev HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            b"Authorization: Bearer " + server.token.encode() + b"\r\n\r\nhalf"
        )
    assert httpx.get(server.url + "/healthz").json()["messages"] == 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_encoded_body_is_delivered_as_it_came(server, receiver):
    import gzip

    body = gzip.compress(b"text")
    headers = {
        "Authorization": f"Bearer {server.token}",
        "Content-Encoding": "gzip",
        "Upstash-Forward-Content-Encoding": "gzip",
    }
    httpx.post(f"{server.url}/v2/publish/{receiver.url}", content=body, headers=headers)
    server.wait_idle()
    (got,) = receiver.got
    assert got.body == body
    assert got.headers["content-encoding"] == "gzip"


def test_headers_that_are_no_utf8_are_taken_for_latin_1(server, receiver):
    raw(
        server,
        b"POST /v2/publish/"
        + receiver.url.encode()
        + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: Bearer "
        + server.token.encode()
        + b"\r\nUpstash-Forward-X: caf\xe9\r\n\r\n",
    )
    server.wait_idle()
    (got,) = receiver.got
    assert got.headers["x"].encode("latin-1").decode() == "café"


def test_answers_are_decoded_and_cut(server, receiver, qstash):
    import gzip

    receiver.answer = lambda got: Answers(
        500, {"Content-Encoding": "gzip"}, gzip.compress(b"plain text")
    )
    qstash.message.publish(url=receiver.url, body="x", retries=0)
    server.wait_idle()
    assert qstash.dlq.list().messages[0].response_body == "plain text"


def test_a_get_has_no_body_and_a_destination_sees_no_headers_of_ours(server, receiver, qstash):
    qstash.message.publish(url=receiver.url + "/x", method="GET")
    server.wait_idle()
    (got,) = receiver.got
    assert got.method == "GET"
    assert set(got.headers) == {
        "host",
        "user-agent",
        "accept-encoding",
        "upstash-message-id",
        "upstash-retried",
        "upstash-signature",
        "upstash-caller-ip",
    }


def test_a_refused_publish_may_be_a_closed_connection(server):
    headers = {"Authorization": f"Bearer {server.token}"}
    knobs = {"refuse": 1, "refuse_with": "reset"}
    httpx.put(server.url + "/_dev/faults", json=knobs, headers=headers)
    with pytest.raises(httpx.TransportError):
        httpx.post(server.url + "/v2/publish/http://a.dev", headers=headers)
    httpx.delete(server.url + "/_dev/faults", headers=headers)
    assert httpx.post(server.url + "/v2/publish/http://a.dev", headers=headers).status_code == 200


def test_the_page_and_its_files(server):
    page = httpx.get(server.url + "/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert server.token in page.text
    assert f"QSTASH_URL={server.url}" in page.text
    assert "{{" not in page.text
    assert "javascript" in httpx.get(server.url + "/_dev/page.js").headers["content-type"]
    assert "css" in httpx.get(server.url + "/_dev/style.css").headers["content-type"]
    assert httpx.get(server.url + "/_dev/other.js").status_code == 401


@pytest.mark.parametrize(
    "body", [b"5\r\nhello\r\n", b"5\r\nhello\r\nZZ\r\nabc", b"5\r\nhelloXXXX\r\n0\r\n\r\n"]
)
def test_a_body_that_stops_arriving_or_goes_wrong_is_not_waited_for_for_ever(
    server, monkeypatch, body
):
    monkeypatch.setattr("django_qstash.devserver.server._PATIENCE", 0.2)
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /v2/publish/http://127.0.0.1:9/ HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {server.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode())
        for part in (body[:10], body[10:]):
            connection.sendall(part)
            time.sleep(0.05)
        answer = connection.recv(65536)
    assert answer.split()[1] in (b"400", b"408")
    assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])
    assert server.ask(lambda state: len(state.machine.messages)) == 0
