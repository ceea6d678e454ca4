"""Runs of N no-op steps, beside the bare cost of N committed INSERTs."""

from __future__ import annotations

import io
import random
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import site

SIZES = (1, 10, 100, 1000)
ROUNDS = 25


def main() -> None:
    site.configure(
        INSTALLED_APPS=[
            "django_qstash",
            "django_qstash.results",
            "django_qstash.workflows",
            "benchmarks",
        ],
        DJANGO_QSTASH_WORKFLOW_TIME_BUDGET=600,
    )
    site.migrate()

    from django.core.handlers.wsgi import WSGIHandler
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from django_qstash import shared_task
    from django_qstash.transport import get_transport
    from django_qstash.workflows import workflow

    @workflow("bench")
    def bench(ctx, count):
        for _ in range(count):
            ctx.step.run("noop", nothing)

    def nothing():
        return None

    @shared_task(name="noop")
    def noop():
        return None

    outbox = get_transport()
    handler = WSGIHandler()

    def taken(send: Callable[[], object]) -> Used:
        """What the one delivery takes that this brings about."""
        send()
        (envelope,) = outbox.sent
        outbox.sent.clear()
        statuses: list[str] = []
        request = environ(envelope.body)
        began = time.process_time()
        handler(request, lambda status, _: statuses.append(status))
        seconds = time.process_time() - began
        assert statuses[0].startswith("200"), statuses
        sent = [envelope, *outbox.sent]
        outbox.sent.clear()
        return Used(seconds, len(sent), sum(len(each.body) for each in sent))

    def run(count: int) -> float:
        return taken(lambda: bench.delay(count)).seconds

    def task(_: int) -> float:
        return taken(noop.delay).seconds

    inserts = Inserts()
    # There is one for the INSERTs to belong to.
    run(1)
    print(f"database: {connection.vendor}; CPU, medians of {ROUNDS} rounds, one delivery per run")
    print(
        f"{'steps':>6} {'run':>10} {'INSERTs':>10} {'creates':>10} {'delivery':>10} {'ratio':>7}"
        "  statements messages bytes requests"
    )
    for size in SIZES:
        what = {"run": run, "inserts": inserts.run, "creates": inserts.create, "task": task}
        whole, bare, creates, one = medians(what, size)
        with CaptureQueriesContext(connection) as queries:
            used = taken(lambda size=size: bench.delay(size))
        # Of the budget: one and a half times the INSERTs, and one delivery.
        ratio = (whole - one) / bare
        print(
            f"{size:>6} {whole * 1000:>8.2f}ms {bare * 1000:>8.2f}ms {creates * 1000:>8.2f}ms "
            f"{one * 1000:>8.2f}ms {ratio:>6.2f}x "
            # The start is counted in the statements: one INSERT and what notes that it was sent.
            f"{len(queries):>11} {used.messages:>8} {used.bytes:>5} {2 * used.messages:>8}"
        )


class Used(NamedTuple):
    """Of CPU, and what was published; each message is a request to QStash and one from it."""

    seconds: float
    messages: int
    bytes: int


def medians(what: dict[str, Callable[[int], float]], size: int) -> list[float]:
    """What each of them takes."""
    chance = random.Random(size)
    taken: dict[str, list[float]] = {name: [] for name in what}
    order = list(what)
    for round_ in range(ROUNDS + 1):
        chance.shuffle(order)
        for name in order:
            write_back()
            seconds = what[name](size)
            if round_:
                taken[name].append(seconds)
    return [statistics.median(seconds) for seconds in taken.values()]


def write_back() -> None:
    """Have each begin with an empty journal, which SQLite writes back every thousand pages.

    A hundred steps fill less than half of it: whom that fell to would be a matter of luck.
    """
    from django.db import connection

    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(RESTART)")
            # Whoever writes first after that takes longer.
            cursor.execute("PRAGMA user_version = 1")


class Inserts:
    """The bare cost: the same rows, in a table of the same columns and indexes, each committed."""

    def __init__(self) -> None:
        from django.db import connection

        from django_qstash.workflows.models import StepExecution

        self.connection = connection
        self.table = "bench_step"
        table = StepExecution._meta.db_table
        with connection.schema_editor() as editor:
            StepExecution._meta.db_table = self.table
            # Two constraints of one name cannot be; the columns say which it is.
            constraints = StepExecution._meta.constraints
            StepExecution._meta.constraints = []
            editor.create_model(StepExecution)
            StepExecution._meta.db_table, StepExecution._meta.constraints = table, constraints
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE UNIQUE INDEX bench_once ON {self.table}"
                " (workflow_run_id, step_id, occurrence)"
            )
        self.count = 0

    def run(self, count: int) -> float:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT min(id) FROM django_qstash_workflowrun")
            (run_id,) = cursor.fetchone()
            quote = self.connection.ops.quote_name
            values = self._values(run_id)
            names = ", ".join(map(quote, values))
            places = ", ".join(["%s"] * len(values))
            statement = f"INSERT INTO {self.table} ({names}) VALUES ({places})"
            began = time.process_time()
            for _ in range(count):
                self.count += 1
                values["occurrence"] = self.count
                cursor.execute(statement, list(values.values()))
            return time.process_time() - began

    def create(self, count: int) -> float:
        """The same by the ORM, as a site would write it."""
        from django.utils import timezone

        from django_qstash.workflows.models import StepExecution, WorkflowRun

        run, now = WorkflowRun.objects.earliest("pk"), timezone.now()
        began = time.process_time()
        for _ in range(count):
            self.count += 1
            StepExecution.objects.create(
                workflow_run=run,
                step_id="created",
                occurrence=self.count,
                kind="run",
                status="completed",
                attempts=1,
                started_at=now,
                executed_at=now,
            )
        return time.process_time() - began

    def _values(self, run_id: int) -> dict:
        from django.utils import timezone

        now = self.connection.ops.adapt_datetimefield_value(timezone.now())
        texts = dict.fromkeys(("error_message", "input_hash", "target", "child_id"), "")
        nothing = ("error", "wake_at", "follow", "lease_token", "lease_until", "limit")
        return {
            "workflow_run_id": run_id,
            "step_id": "noop",
            "occurrence": 0,
            "kind": "run",
            "status": "completed",
            "result": "null",
            "attempts": 1,
            "fan": 0,
            "deliveries": 0,
            "awaited": False,
            "started_at": now,
            "executed_at": now,
            **texts,
            **dict.fromkeys(nothing),
        }


def environ(body: bytes) -> dict:
    from django_qstash.wire import signature

    token = signature.sign(body, url=site.WEBHOOK, key=site.KEY, now=time.time())
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/qstash/webhook/",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "bench.example.com",
        "SERVER_PORT": "443",
        "REMOTE_ADDR": "203.0.113.1",
        "HTTP_UPSTASH_SIGNATURE": token,
        "HTTP_UPSTASH_MESSAGE_ID": "msg_1",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "https",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
