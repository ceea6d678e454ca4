"""Workflows drawn by lot in storms drawn by lot: nothing is lost, doubled, or stuck."""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import Any

import pytest
from django.db import DatabaseError, connection

from django_qstash.exceptions import PublishError
from django_qstash.outbox.models import OutgoingMessage
from django_qstash.results.models import TaskResult
from django_qstash.tasks import outbox as outboxes
from django_qstash.workflows import cancel_workflow, functions, notify, send_signal, sweep
from django_qstash.workflows.models import (
    FINAL,
    DeadLetterEntry,
    StepExecution,
    Topic,
    Watcher,
    WorkflowEvent,
    WorkflowRun,
)
from tests import soak
from tests.shop.models import Effect
from tests.workflows import programs, storm
from tests.workflows.storm import Storm

pytestmark = [pytest.mark.soak, pytest.mark.django_db(transaction=True)]

#: A hundred and fifty storms in every run, ten thousand under make soak.
CHUNKS, ROUNDS = 8, 19 if soak.FACTOR == 1 else 25 * soak.FACTOR


@pytest.fixture(autouse=True)
def sea(settings, monkeypatch, outbox_app):
    settings.DJANGO_QSTASH_TRANSPORT = storm.TRANSPORT
    settings.DJANGO_QSTASH_QUEUES = {programs.QUEUE: {"parallelism": 1}}
    monkeypatch.setattr(functions, "fetch", programs.fetch)
    # By the machine's clock, and so by no seed; what is owed is swept here when nothing else goes.
    monkeypatch.setattr(sweep, "_next_by_traffic", math.inf)
    # A record keeps the frames of its exception alive, and they an open cursor.
    logging.disable(logging.CRITICAL)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = OFF")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
    yield
    logging.disable(logging.NOTSET)


class Voyage:
    """One run of a program, with its children and errands, and those who send it signals."""

    def __init__(self, *what: Any) -> None:
        self.chance = soak.drawn(*what)
        self.author = programs.Author(self.chance)
        self.fails = self.chance.random() < 0.15
        self.program = self.author.program("root", fails=self.fails)
        self.expected = self.author.expected
        self.workflow = self.chance.choice(list(programs.WORKFLOWS.values()))
        self.storm = Storm(
            self.chance, faults=self.chance.choice((0, 2, 4)), calm=self.chance.choice((5, 20, 80))
        )
        self.storm.watch = self.look
        self.storm.elsewhere = programs.answer
        self.canceled_after = self.chance.randint(1, 30) if self.chance.random() < 0.1 else None
        self.ended: dict[str, Any] = {}
        self.signals = list(self.expected.signals)
        self.events = list(self.expected.events)
        self.deliveries = 0

    def sail(self) -> None:
        programs.CALLS.clear()
        programs.KEYS.clear()
        programs.HEARD.clear()
        with self.storm.blowing():
            while not self._start():
                pass
            while self._goes_on():
                self.deliveries += 1
                assert self.deliveries < 2000, "It never ends."
                if self.deliveries == self.canceled_after:
                    self._cancel()

    def _goes_on(self) -> bool:
        return (
            self._send_something()
            or self.storm.deliver_one()
            or self._empty_the_outbox()
            or self._sweep()
        )

    # --- what people do ---------------------------------------------------------------------------

    def _start(self) -> bool:
        try:
            started = self.storm.act(lambda: self.workflow.trigger(self.program, run_id="root"))
        except (PublishError, DatabaseError):
            return False
        return started is not None

    def _send_something(self) -> bool:
        if self.storm.messages and self.chance.random() < 0.7:
            return False
        heads = {(owner, name): (owner, name, data) for owner, name, data in self.signals[::-1]}
        for signal in self.chance.sample(list(heads.values()), len(heads)):
            if (run := self._run(signal[0])) is not None:
                if run.status in FINAL or self._signal(run, *signal[1:]):
                    self.signals.remove(signal)
                return True
        for key, event in self.chance.sample(self.events, len(self.events)):
            if self._run(key) is not None:
                if self._notify(event):
                    self.events.remove((key, event))
                return True
        return False

    def _signal(self, run: Any, name: str, data: Any) -> bool:
        self.storm.tell(f"signal {name} to {run.data['key']}")
        before = self._events(f"signal:{name}")
        self._try(lambda: send_signal(run.run_id, name, data))
        return self._events(f"signal:{name}") > before

    def _notify(self, key: str) -> bool:
        self.storm.tell(f"notify {key}")
        before = self._events(f"event:{key}")
        self._try(lambda: notify(key, key))
        return self._events(f"event:{key}") > before

    def _cancel(self) -> None:
        self.storm.tell("cancel")
        while not self._run("root").is_final:
            self._try(lambda: cancel_workflow("root", "a storm"))

    def _try(self, work: Any) -> None:
        try:
            self.storm.act(work)
        except (PublishError, DatabaseError) as error:
            self.storm.tell(f"  {error}")

    @staticmethod
    def _events(name: str) -> int:
        return WorkflowEvent.objects.filter(name=name, source=None).count()

    @staticmethod
    def _run(key: str) -> Any:
        return next((run for run in WorkflowRun.objects.all() if run.data["key"] == key), None)

    # --- what must be so --------------------------------------------------------------------------

    def look(self) -> None:
        """What has ended stays as it is."""
        for run in WorkflowRun.objects.filter(status__in=FINAL):
            now = (run.status, run.result, run.error_message, run.completed_at)
            assert self.ended.setdefault(run.run_id, now) == now

    def _empty_the_outbox(self) -> bool:
        """Tasks that were sent in transactions, and whose sender died after the commit."""
        if not OutgoingMessage.objects.exists():
            return False
        self.storm.tell("outbox")
        self.storm.clock.advance(3600)
        self._try(outboxes.sweep)
        return True

    def _sweep(self) -> bool:
        """No letter is under way: who is not at the end is owed one, or waits for one who is."""
        left = WorkflowRun.objects.exclude(status__in=FINAL)
        if not left.exists():
            return False
        owed = left.filter(owed__isnull=False).count()
        if not owed and (unanswered := list(left.filter(waits__startswith="call:"))):
            # QStash gave the answer up, twice: it is asked anew when none can come any more.
            owed, last = len(unanswered), max(run.wake_at for run in unanswered)
            self.storm.clock.advance(last.timestamp() + 1000 - self.storm.clock.time())
        assert owed, "Nothing is under way, nothing is owed, and it has not ended."
        self.storm.tell("sweep")
        self.storm.clock.advance(sweep.PATIENCE + 1)
        assert sweep.sweep() == owed
        return True

    def check(self) -> None:
        runs = {run.data["key"]: run for run in WorkflowRun.objects.all()}
        assert len(runs) == WorkflowRun.objects.count(), "A child was started twice."
        assert {run.status for run in runs.values()} <= FINAL
        assert not WorkflowRun.objects.exclude(lease_token=None).exists()
        assert not WorkflowRun.objects.exclude(closing=0).exists()
        effects = Counter(Effect.objects.values_list("name", flat=True))
        assert set(effects.values()) <= {1}, "An effect was doubled."
        if runs["root"].status == "canceled":
            self._check_canceled(runs, effects)
            return
        assert sorted(effects) == sorted(self.expected.effects)
        assert runs.keys() == self.expected.values.keys()
        for key, run in runs.items():
            steps = StepExecution.objects.filter(workflow_run=run)
            found = sorted(steps.values_list("step_id", "occurrence"))
            assert found == sorted(self.expected.steps[key]), key
            assert not steps.exclude(status__in=("completed", "failed")).exists()
            if key in self.expected.failed:
                assert (run.status, run.error_message) == ("failed", f"NonRetryableError: {key}")
            else:
                assert (run.status, run.error_message) == ("completed", "")
                self._compare(run.result, self.expected.values[key])
            self._check_result(run)
        dead = DeadLetterEntry.objects.values_list("run_id", flat=True)
        assert sorted(dead) == sorted(runs[key].run_id for key in self.expected.failed)
        assert set(programs.HEARD) == set(dead)
        assert {len(keys) for keys in programs.KEYS.values()} <= {1}
        assert not OutgoingMessage.objects.exists()
        received = WorkflowEvent.objects.filter(consumed_by=None, run__isnull=False)
        assert {event.name.partition(":")[2] for event in received} <= self.expected.racing

    def _compare(self, found: Any, wanted: Any) -> None:
        if isinstance(wanted, list):
            assert isinstance(found, list)
            assert len(found) == len(wanted)
            for one, other in zip(found, wanted, strict=True):
                self._compare(one, other)
        elif wanted is programs.EITHER:
            assert isinstance(found, str)
        else:
            assert found == wanted

    def _check_result(self, run: Any) -> None:
        row = TaskResult.objects.get(task_id=run.run_id)
        assert row.status == {"completed": "SUCCESS", "failed": "FAILURE"}[run.status]
        if run.status == "completed":
            assert row.result == run.result

    def _check_canceled(self, runs: Any, effects: Counter[str]) -> None:
        for run in runs.values():
            if run.parent_id and run.parent.status == "completed":
                assert run.status != "canceled"
            done = run.step_executions.filter(status="completed", kind__in=("run", "branch"))
            for step in done.filter(step_id__regex="^(atomic|map)"):
                number = f"-{step.occurrence}" if step.step_id.startswith("map") else ""
                assert effects[f"{run.data['key']}/{step.step_id}{number}"] == 1


def clean() -> None:
    WorkflowRun.objects.update(parent=None)
    WorkflowEvent.objects.update(source=None)
    for model in (WorkflowEvent, Watcher, StepExecution, DeadLetterEntry, WorkflowRun, Topic):
        rows = model.objects.all()
        rows._raw_delete(rows.db)
    TaskResult.objects.all().delete()
    Effect.objects.all()._raw_delete("default")
    OutgoingMessage.objects.all()._raw_delete("default")


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.timeout(120 if soak.FACTOR == 1 else 7200)
def test_every_storm_ends_with_everything_done_once(chunk):
    struck = 0
    for number in range(chunk * ROUNDS, (chunk + 1) * ROUNDS):
        voyage = Voyage("storm", number)
        try:
            voyage.sail()
            voyage.check()
        except Exception as error:
            said = f"SEED={soak.SEED}, storm {number}: {voyage.program}\n{voyage.storm}\n{error!r}"
            raise AssertionError(said) from error
        finally:
            clean()
        struck += voyage.storm.lot.struck
    assert struck > ROUNDS // 2


def sleep_through(ops: list[dict[str, Any]]) -> tuple[Any, int]:
    """Run a program without any storm, and as fast as its sleeps allow; how many deliveries."""
    sea = Storm(soak.drawn("calm"))
    with sea.blowing():
        began = sea.clock.time()
        programs.patient.trigger({"key": "root", "ops": ops}, run_id="root")
        deliveries = 0
        while sea.messages:
            sea.clock.advance(max(0.0, sea.messages[0].due - sea.clock.time()))
            assert sea.deliver_one()
            deliveries += 1
        assert sea.clock.time() - began == 1_000_000
    run = WorkflowRun.objects.get()
    assert (run.status, run.step_executions.count()) == ("completed", len(ops))
    return run, deliveries


def test_a_million_seconds_in_many_sleeps_are_slept_to_the_second():
    naps = [4_000] * 100 + [600_000]
    run, deliveries = sleep_through(
        [{"op": "sleep", "id": f"nap-{n}", "seconds": nap} for n, nap in enumerate(naps)]
    )

    assert deliveries == run.messages == len(naps) + 1
    woken = list(run.step_executions.order_by("pk").values_list("wake_at", flat=True))
    assert [(b - a).total_seconds() for a, b in zip(woken, woken[1:], strict=False)] == naps[1:]


def test_a_million_seconds_in_one_sleep_are_slept_in_hops(settings):
    settings.DJANGO_QSTASH_MAX_DELAY = 100_000

    _, deliveries = sleep_through([{"op": "sleep", "id": "nap", "seconds": 1_000_000}])

    assert deliveries == 1 + 10
