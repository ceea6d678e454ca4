"""CPU of a delivery of a no-op task, beside a view that only verifies the JWT."""

from __future__ import annotations

import io
import json
import statistics
import time
import uuid

from benchmarks import site

ROUNDS = 9
REQUESTS = 300


def main() -> None:
    site.configure()
    site.migrate()

    from django.core.handlers.wsgi import WSGIHandler
    from django.db import connection

    from django_qstash import shared_task
    from django_qstash.tasks import store

    shared_task(name="noop")(lambda: None)
    handler = WSGIHandler()

    def run(path: str) -> float:
        requests = [environ(path) for _ in range(REQUESTS)]
        began = time.process_time()
        for each in requests:
            statuses: list[str] = []
            handler(each, lambda status, _headers, found=statuses: found.append(status))
            assert statuses[0].startswith("200"), statuses
        return (time.process_time() - began) / REQUESTS * 1000

    def without_results(path: str) -> float:
        label, store.LABEL = store.LABEL, "not installed"
        try:
            return run(path)
        finally:
            store.LABEL = label

    cases = {
        "verify the JWT": lambda: run("/verify/"),
        "verify and one INSERT": lambda: run("/insert/"),
        "no-op task, no results app": lambda: without_results("/qstash/webhook/"),
        "no-op task, with results": lambda: run("/qstash/webhook/"),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for measure in cases.values():
        measure()
    # In turn, so that a machine that slows down slows all of them.
    for _ in range(ROUNDS):
        for name, measure in cases.items():
            times[name].append(measure())
    verify, insert = times["verify the JWT"], times["verify and one INSERT"]
    print(f"database: {connection.vendor}; CPU of this process, median of {ROUNDS} rounds")
    for name, values in times.items():
        print(
            f"{name:<30} {statistics.median(values):6.3f} ms"
            f"   {ratio(values, verify):5.2f} x verify   {ratio(values, insert):5.2f} x insert"
        )


def ratio(values: list[float], base: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, base, strict=True))


def environ(path: str) -> dict:
    from django_qstash.messages import TaskMessage, new_id, new_run
    from django_qstash.wire import signature

    body = TaskMessage(task="noop", id=new_id(), run=new_run()).encode()
    token = signature.sign(body, url=site.WEBHOOK, key=site.KEY, now=time.time())
    json.loads(body)
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "bench.example.com",
        "SERVER_PORT": "443",
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "REMOTE_ADDR": "203.0.113.9",
        "HTTP_UPSTASH_SIGNATURE": token,
        "HTTP_UPSTASH_MESSAGE_ID": f"msg_{uuid.uuid4().hex}",
        "HTTP_UPSTASH_RETRIED": "0",
    }
