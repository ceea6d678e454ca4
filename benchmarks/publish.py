"""``.delay()`` beside a bare POST over a connection that is kept alive."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks import site

ROUNDS = 9
CALLS = 200


class Accept(BaseHTTPRequestHandler):
    """Answers every publish with a message id, as fast as it can."""

    protocol_version = "HTTP/1.1"
    answer = b'{"messageId":"msg_1"}'

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *args) -> None: ...


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Accept)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    site.configure(
        QSTASH_URL=url, DJANGO_QSTASH_TRANSPORT="django_qstash.transport.http.HttpTransport"
    )

    import httpx

    from django_qstash import shared_task

    add = shared_task(name="add")(lambda x, y: x + y)
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    client = httpx.Client()
    body = b'{"v":1,"kind":"task","task":"add","id":"' + b"x" * 36 + b'","args":[2,3]}'
    headers = {"Authorization": "Bearer bench", "Content-Type": "application/json"}
    path = f"/v2/publish/{site.WEBHOOK}"

    def bare() -> None:
        connection.request("POST", path, body, headers)
        connection.getresponse().read()

    cases = {
        "http.client": bare,
        "httpx": lambda: client.post(f"{url}{path}", content=body, headers=headers),
        ".delay()": lambda: add.delay(2, 3),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for call in cases.values():
        call()
    for _ in range(ROUNDS):
        for name, call in cases.items():
            began = time.thread_time()
            for _ in range(CALLS):
                call()
            times[name].append((time.thread_time() - began) / CALLS * 1000)
    print(f"CPU of the calling thread, median of {ROUNDS} rounds of {CALLS} calls")
    base = times["http.client"]
    for name, values in times.items():
        ratios = statistics.median(a / b for a, b in zip(values, base, strict=True))
        print(f"{name:<14} {statistics.median(values):6.3f} ms   {ratios:5.2f} x http.client")
