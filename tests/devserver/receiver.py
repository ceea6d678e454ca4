"""A destination for the tests: keeps what it gets and answers as it is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from django_qstash.wire import signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


@dataclass
class Got:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    url: str


@dataclass
class Answers:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"


class Receiver:
    """``with Receiver() as receiver``: ``receiver.url``, ``receiver.got``, ``receiver.answer``."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[Got], Answers] = lambda got: Answers()
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                got = Got(
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    body,
                    receiver.url + self.path,
                )
                with receiver._arrived:
                    receiver.got.append(got)
                    receiver._arrived.notify_all()
                answer = receiver.answer(got)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

            def handle_error(self, *args: object) -> None:
                """Killed clients are part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int = 1, timeout: float = 5) -> list[Got]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.got) >= count, timeout), (
                f"{len(self.got)} of {count} deliveries came"
            )
            return list(self.got)


def verify(got: Got, *keys: str, now: float) -> None:
    """Raise unless QStash signed this delivery."""
    signature.verify(
        got.headers["upstash-signature"], got.body, url=got.url, keys=keys, now=now, tolerance=2
    )
