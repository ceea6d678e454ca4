"""``.delay()`` and whole tasks per second, beside Celery with Redis: two worker processes each.

Celery: Redis as broker and result backend, ``worker --concurrency 2``. Here: the embedded QStash
server (a development server: hosted QStash answers at its own pace), gunicorn with two processes,
and the site's database. Both stand ready all the time, and run in turn.

Needs a Redis at ``REDIS_URL`` (redis://127.0.0.1:6379/0), in which keys with a prefix of their own
are written; results expire after a minute.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import site
from django_qstash.conf import DEVELOPMENT_TOKEN

ROUNDS = 3
TASKS = 400
PATIENCE = 60
REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
ROOT = Path(__file__).parent.parent


def add(x: int, y: int) -> int:
    """The task of both."""
    return x + y


# --- the two sides ---------------------------------------------------------------------------


def celery_app() -> Any:
    """Celery's side, in the worker and in this process."""
    from celery import Celery

    app = Celery("bench", broker=REDIS, backend=REDIS, fixups=[], set_as_current=False)
    prefix = {"global_keyprefix": os.environ["BENCH_PREFIX"]}
    app.conf.update(
        broker_transport_options=prefix,
        result_backend_transport_options=prefix,
        broker_connection_retry_on_startup=True,
        result_expires=60,
    )
    app.task(name="add")(add)
    return app


def __getattr__(name: str) -> Any:
    """``worker_app``, which the worker is told by name, and nobody else makes."""
    if name == "worker_app":
        return celery_app()
    raise AttributeError(name)


def application() -> Any:
    """Our side: the WSGI application that gunicorn serves, and what this process configures."""
    from django.core.handlers.wsgi import WSGIHandler

    site.configure(
        QSTASH_URL=os.environ["BENCH_QSTASH"],
        QSTASH_TOKEN=os.environ["BENCH_TOKEN"],
        QSTASH_CURRENT_SIGNING_KEY=os.environ["BENCH_KEY"],
        QSTASH_NEXT_SIGNING_KEY=os.environ["BENCH_KEY"],
        DJANGO_QSTASH_DOMAIN=os.environ["BENCH_SITE"],
        DJANGO_QSTASH_FORCE_HTTPS=False,
        DJANGO_QSTASH_TRANSPORT="django_qstash.transport.http.HttpTransport",
    )
    from django_qstash import shared_task

    shared_task(name="add")(add)
    return WSGIHandler()


# --- what is measured ------------------------------------------------------------------------


def main() -> None:
    if not _redis_answers():
        print(f"Left out: no Redis answers at {REDIS}.")
        return
    folder = Path(tempfile.mkdtemp(prefix="django-qstash-bench-"))
    ports = _free_port(), _free_port()
    os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder / 'bench.sqlite3'}")
    os.environ.update(
        BENCH_PREFIX=f"bench-{os.getpid()}-",
        BENCH_QSTASH=f"http://127.0.0.1:{ports[0]}",
        BENCH_SITE=f"http://127.0.0.1:{ports[1]}",
    )
    celery = celery_app()
    with _running(*ports):
        cases = {"Celery, Redis": _celery_round(celery), "here": _our_round()}
        for play in cases.values():
            play(20)
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, play in cases.items():
                figures[name].append(play(TASKS))
        statements = _statements()
    from django.db import connection

    print(f"database: {connection.vendor}; {TASKS} tasks, median of {ROUNDS} rounds")
    for name, rounds in figures.items():
        sent = statistics.median(TASKS / publish for publish, _ in rounds)
        done = statistics.median(TASKS / whole for _, whole in rounds)
        print(f"{name:<14} {sent:7.0f} .delay()/s   {done:7.0f} tasks/s end to end")
    for number in (0, 1):
        ratios = [
            ours[number] / theirs[number]
            for ours, theirs in zip(figures["here"], figures["Celery, Redis"], strict=True)
        ]
        what = (".delay()", "end to end")[number]
        print(f"{what:<14} {statistics.median(ratios):5.2f} x Celery's time")
    print(f"SQL statements of one delivered task: {', '.join(statements)}")


def _celery_round(app: Any) -> Callable[[int], tuple[float, float]]:
    task = app.tasks["add"]

    def play(count: int) -> tuple[float, float]:
        began = time.perf_counter()
        results = [task.delay(n, 1) for n in range(count)]
        sent = time.perf_counter()
        for result in results:
            result.get(timeout=PATIENCE, interval=0.005)
        return sent - began, time.perf_counter() - began

    return play


def _our_round() -> Callable[[int], tuple[float, float]]:
    from django_qstash.results.models import TaskResult
    from django_qstash.tasks.registry import tasks

    task: Any = tasks["add"]

    def play(count: int) -> tuple[float, float]:
        TaskResult.rows.all().delete()
        began = time.perf_counter()
        for n in range(count):
            task.delay(n, 1)
        sent = time.perf_counter()
        while TaskResult.rows.filter(status="SUCCESS").count() < count:
            if time.perf_counter() - sent > PATIENCE:
                raise SystemExit("Not all tasks came back.")
            time.sleep(0.005)
        return sent - began, time.perf_counter() - began

    return play


def _statements() -> list[str]:
    """The statements of the delivery of one task whose id is new."""
    from django.db import connection
    from django.test.utils import override_settings

    from django_qstash.tasks.registry import tasks

    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql.split(None, 1)[0])
        return execute(sql, params, many, context)

    task: Any = tasks["add"]
    loopback = "django_qstash.transport.local.Loopback"
    with override_settings(DJANGO_QSTASH_TRANSPORT=loopback), connection.execute_wrapper(note):
        task.delay(1, 1)
    return seen


# --- the processes ---------------------------------------------------------------------------


@contextmanager
def _running(qstash: int, web: int) -> Iterator[None]:
    """Everything beside this process; it is set up itself once the server has keys of its own."""
    server = ["-m", "django_qstash.devserver", "--port", str(qstash), "--quiet"]
    gunicorn = [
        *("-m", "gunicorn", "benchmarks.beside_celery:application()", "--no-control-socket"),
        *("--workers", "2", "--threads", "4", "--bind", f"127.0.0.1:{web}"),
    ]
    worker = [
        *("-m", "celery", "-A", "benchmarks.beside_celery:worker_app", "worker"),
        *("--concurrency", "2", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"),
    ]
    started = [_start(server)]
    try:
        _wait_for(qstash)
        os.environ.update(BENCH_TOKEN=DEVELOPMENT_TOKEN, BENCH_KEY=_own_key())
        application()
        site.migrate()
        started += [_start(gunicorn), _start(worker)]
        _wait_for(web)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def _redis_answers() -> bool:
    import redis

    try:
        return bool(redis.Redis.from_url(REDIS).ping())
    except redis.RedisError:
        return False


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=quiet, stderr=quiet)


def _own_key() -> str:
    """A signing key that not everybody knows: the site refuses the development server's."""
    for _ in range(2):
        answer = urllib.request.Request(
            f"{os.environ['BENCH_QSTASH']}/v2/keys/rotate",
            method="POST",
            headers={"Authorization": f"Bearer {DEVELOPMENT_TOKEN}"},
        )
        with urllib.request.urlopen(answer) as keys:
            found = json.load(keys)
    return found["current"]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"Nothing answers on port {port}.")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
