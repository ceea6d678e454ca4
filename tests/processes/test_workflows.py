"""A process of a run is killed at each of its statements: the run completes, nothing is doubled.

Every delivery is a process of its own. Whatever dies is left to QStash, which delivers again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from django.db import connection

from django_qstash.workflows import sweep
from django_qstash.workflows.models import FINAL, WorkflowRun
from tests import soak
from tests.processes import journey
from tests.processes.conftest import ROOT, configure, eventually, free_port, is_up
from tests.shop.models import Effect

pytestmark = [pytest.mark.processes, pytest.mark.soak]

#: Sites, each with a run of its own, that are at work at the same time. SQLite has one writer.
SITES = 2 if connection.vendor == "sqlite" else 6
#: At how many moments a process is killed; ``make soak`` takes them all.
SAMPLE = 4


class Sites:
    """The sites, and how their processes are to die."""

    def __init__(self, settings, qstash, directory) -> None:
        self.settings = settings
        self.directory = directory
        self.ports = [free_port() for _ in range(SITES)]
        environment = {
            **configure(settings, qstash, self.ports[0]),
            "DJANGO_QSTASH_TRANSPORT": "tests.processes.forking.Dying",
            "TESTS_DEATHS": str(directory),
        }
        started = f"forking.main({self.ports})"
        connection.close()
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from tests.processes import forking; {started}"],
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def send_off(self, port: int, at: int) -> str:
        """Start a run at a site whose processes die once, at that moment; its name."""
        name = f"{port}-{at}"
        (self.directory / f"{port}.at").write_text(str(at))
        (self.directory / str(port)).unlink(missing_ok=True)
        self.settings.DJANGO_QSTASH_DOMAIN = f"http://127.0.0.1:{port}"
        journey.journey.trigger({"name": name}, run_id=name)
        return name

    def moments(self, port: int) -> int:
        return (self.directory / str(port)).stat().st_size


@pytest.fixture
def sites(transactional_db, qstash, settings, tmp_path):
    found = Sites(settings, qstash, tmp_path)
    eventually(lambda: all(is_up(f"http://127.0.0.1:{port}/") for port in found.ports))
    yield found
    found.stop()


def arrive(names: list[str], timeout: float = 60) -> None:
    """Wait until these runs and their children have ended; what is owed is sent, as in production.

    The runs of a signal's sender that died wait for the sweep; here it comes every second. It looks
    for nothing else than what is owed: for lost letters it would wait a minute longer than this.
    """
    deadline = time.monotonic() + timeout
    while left := WorkflowRun.objects.exclude(status__in=FINAL).count():
        if time.monotonic() > deadline:
            raise AssertionError(f"{left} runs are stuck: {stuck()}")
        time.sleep(0.5)
        sweep.sweep()


def stuck() -> str:
    return "; ".join(
        f"{run} generation={run.generation} waits={run.waits!r} wake_at={run.wake_at} "
        f"owed={run.owed} lease={run.lease_until} attempts={run.attempts} "
        f"steps={list(run.step_executions.values_list('step_id', 'status'))}"
        for run in WorkflowRun.objects.exclude(status__in=FINAL)
    )


def check(name: str) -> None:
    run = WorkflowRun.objects.get(run_id=name)
    assert (run.status, run.result, run.error_message) == ("completed", journey.RESULT, "")
    family = [run, *run.children.all()]
    found = {
        each.workflow_id: sorted(each.step_executions.values_list("step_id", flat=True))
        for each in family
    }
    assert len(family) == len(found), "A child was started twice."
    assert found == journey.STEPS
    assert {step.status for each in family for step in each.step_executions.all()} == {"completed"}
    effects = Effect.objects.filter(name__startswith=f"{name}/").values_list("name", flat=True)
    counted = Counter(effect.removeprefix(f"{name}/") for effect in effects)
    assert {key: counted.pop(key) for key in journey.ONCE} == dict.fromkeys(journey.ONCE, 1)
    # What is not atomic may happen again where a process died between the effect and its record.
    assert set(counted) == {"look", "right/look"}
    assert set(counted.values()) <= {1, 2}


@pytest.mark.timeout(300 if soak.FACTOR == 1 else 7200)
def test_killed_at_any_statement_a_run_completes_and_doubles_nothing(sites, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 2)
    arrive([sites.send_off(sites.ports[0], 0)])
    check(f"{sites.ports[0]}-0")
    moments = sites.moments(sites.ports[0])
    assert moments > 100

    points = list(range(1, moments + 1))
    soak.drawn("journey").shuffle(points)
    if soak.FACTOR == 1:
        points = points[:SAMPLE]
    died = 0
    for first in range(0, len(points), SITES):
        batch = list(zip(sites.ports, points[first : first + SITES], strict=False))
        names = [sites.send_off(port, at) for port, at in batch]
        arrive(names)
        for name in names:
            check(name)
        died += sum(sites.moments(port) >= at for port, at in batch)
    # A run that is not killed may need a few moments less than the first one did.
    assert died >= len(points) * 0.9
