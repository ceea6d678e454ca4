"""A chord of N and a chain of N: messages, statements, seconds and memory, beside Celery's.

Each in a process of its own. Ours delivers by calling the site's WSGI handler, one message after
another, with SQLite; Celery has one worker thread (pool ``solo``) in the process, with Redis for
broker and results. So both do all of their work in one process, and ``seconds`` is its CPU time;
what the Redis server takes besides is not in it.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack

from benchmarks import site

SIZES = {"chord": (100, 1000, 10_000), "chain": (10, 100, 400)}
#: Seconds after which a case is given up.
PATIENCE = 120
REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/9")


def main() -> None:
    print(f"{'':<14}{'engine':<9}{'messages':>9}{'requests':>9}{'stored':>9}{'kB sent':>9}"
          f"{'seconds':>9}{'MB':>7}{'ms each':>9}")  # fmt: skip
    for kind, sizes in SIZES.items():
        for size in sizes:
            for engine in ("ours", "celery"):
                _print(kind, size, engine, _measured(engine, kind, size))
    print(
        "requests: HTTP requests with messages, Redis commands in all; stored: SQL statements of "
        "the deliveries.\nMB: peak memory over that at the start."
    )


def _measured(engine: str, kind: str, size: int) -> dict | None:
    code = f"from benchmarks import canvas; canvas.{engine}({kind!r}, {size})"
    command = [sys.executable, "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def _print(kind: str, size: int, engine: str, seen: dict | None) -> None:
    if seen is None:
        print(f"{kind:<6}{size:>6}  {engine:<9}not within {PATIENCE} s", flush=True)
        return
    print(
        f"{kind:<6}{size:>6}  {engine:<9}{seen['messages']:>9}{seen['requests']:>9}"
        f"{seen.get('statements', '-'):>9}{seen['bytes'] // 1000:>9}{seen['seconds']:>9.2f}"
        f"{seen['memory']:>7.0f}{seen['seconds'] / size * 1000:>9.2f}",
        flush=True,
    )


def applied(kind: str, size: int, celery, one, total):
    """The canvas, sent: a generator's chord, and a chain."""
    if kind == "chord":
        return celery.chord(one.s(number) for number in range(size))(total.s())
    return celery.chain(one.s(1), *(one.s() for _ in range(size - 1)))()


def echo(x):
    return x


def add_up(values):
    return sum(values)


def expected(kind: str, size: int) -> int:
    return size * (size - 1) // 2 if kind == "chord" else 1


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- ours ----------------------------------------------------------------------------------------


class Wire:
    """Keeps messages in turn, and counts what a network would have carried."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.messages = self.requests = self.bytes = 0

    def publish(self, envelope):
        self.batch([envelope])
        return self._receipt()

    def batch(self, envelopes):
        self.requests += 1
        for envelope in envelopes:
            self.waiting.append(envelope.body)
            self.messages += 1
            self.bytes += len(envelope.body)
        return [self._receipt() for _ in envelopes]

    def prepare_queue(self, name: str, parallelism: int) -> None: ...

    def _receipt(self):
        from django_qstash.wire.envelope import Receipt

        return Receipt(message_id="msg_bench")


def ours(kind: str, size: int) -> None:
    site.configure(DJANGO_QSTASH_TRANSPORT="benchmarks.canvas.Wire")
    site.migrate()

    from django.core.handlers.wsgi import WSGIHandler
    from django.db import connection

    import django_qstash
    from django_qstash.transport import get_transport

    one = django_qstash.shared_task(name="one")(echo)
    total = django_qstash.shared_task(name="total")(add_up)
    handler, wire = WSGIHandler(), get_transport()
    statements = 0

    def count(execute, sql, params, many, context):
        nonlocal statements
        statements += "SAVEPOINT" not in sql
        return execute(sql, params, many, context)

    before, began = _peak(), time.process_time()
    with connection.execute_wrapper(count):
        result = applied(kind, size, django_qstash, one, total)
        statuses: set[str] = set()
        while wire.waiting:
            handler(_environ(wire.waiting.popleft()), lambda status, _: statuses.add(status))
        assert statuses == {"200 OK"}, statuses
    took = time.process_time() - began
    assert result.get(timeout=0) == expected(kind, size)
    _tell(wire.messages, wire.requests, wire.bytes, took, _peak() - before, statements)


def _environ(body: bytes) -> dict:
    from django_qstash.wire import signature

    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/qstash/webhook/",
        "SERVER_NAME": "bench.example.com",
        "SERVER_PORT": "443",
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "REMOTE_ADDR": "203.0.113.9",
        "HTTP_UPSTASH_SIGNATURE": signature.sign(
            body, url=site.WEBHOOK, key=site.KEY, now=time.time()
        ),
        "HTTP_UPSTASH_MESSAGE_ID": "msg_bench",
        "HTTP_UPSTASH_RETRIED": "0",
    }


def _tell(messages, requests, sent, seconds, memory, statements=None) -> None:
    told = {"messages": messages, "requests": requests, "bytes": sent, "seconds": seconds}
    told |= {"memory": memory} | ({} if statements is None else {"statements": statements})
    print(json.dumps(told))


# --- Celery's ------------------------------------------------------------------------------------


def celery(kind: str, size: int) -> None:
    import redis
    from celery import Celery, chain, chord
    from celery.contrib.testing.worker import start_worker
    from celery.signals import before_task_publish

    server = redis.Redis.from_url(REDIS)
    server.flushdb()
    app = Celery("bench", broker=REDIS, backend=REDIS)
    app.conf.update(worker_hijack_root_logger=False, task_ignore_result=False)
    one = app.task(name="one")(echo)
    total = app.task(name="total")(add_up)
    seen = {"messages": 0, "bytes": 0}

    def published(body, headers, **_):
        seen["messages"] += 1
        seen["bytes"] += len(json.dumps([body, headers], default=str))

    before_task_publish.connect(published)
    with ExitStack() as stack:
        stack.enter_context(
            start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL")
        )
        commands = server.info("stats")["total_commands_processed"]
        before, began = _peak(), time.process_time()
        library = type("library", (), {"chain": chain, "chord": chord})
        result = applied(kind, size, library, one, total)
        assert result.get(timeout=600) == expected(kind, size)
        took, memory = time.process_time() - began, _peak() - before
        commands = server.info("stats")["total_commands_processed"] - commands
    server.flushdb()
    _tell(seen["messages"], commands, seen["bytes"], took, memory)


if __name__ == "__main__":
    main()
