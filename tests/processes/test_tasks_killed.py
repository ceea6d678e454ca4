"""Processes are killed while they claim, run, record and send; atomic effects stay exact."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from django_qstash.results.models import TaskResult
from tests import soak
from tests.processes.conftest import GUNICORN
from tests.shop import tasks
from tests.shop.models import Effect

pytestmark = [pytest.mark.processes, pytest.mark.soak]

#: One delivery at a time in each process, so that who dies takes nobody along.
ALONE = tuple("1" if GUNICORN[i - 1] == "--threads" else word for i, word in enumerate(GUNICORN))


def effects(name):
    return Effect.objects.filter(name=name).count()


@pytest.fixture
def mortal_site(site, tmp_path):
    """The site, whose tasks may die; and the file that says at which moments they did."""
    site.kill()
    site.deaths = tmp_path / "deaths"
    site.environment["TESTS_DEATHS"] = str(site.deaths)
    site.start(ALONE)
    return site


@pytest.mark.parametrize(
    ("task", "moments"),
    [
        # The effect's INSERT, the record's UPDATE, and what comes after them.
        (tasks.mortal_payment, ["statement 1", "statement 2", "commit", "done"]),
        # The record of the retry, the publishing of the next letter, the answer.
        (tasks.mortal_retry, ["statement 1", "published", "done"]),
    ],
    ids=["atomic", "retry"],
)
def test_killed_at_any_statement(mortal_site, qstash, task, moments):
    results = [task.delay(f"at {moment}", moment) for moment in moments]

    for result in results:
        result.get(timeout=60)
    qstash.wait_idle()
    assert [effects(f"at {moment}") for moment in moments] == [1] * len(moments)
    assert set(mortal_site.deaths.read_text().splitlines()) == set(moments)


# The pause after a third failure is 36 seconds even here, and some meet more than one.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("qstash", [{"duplicate": 0.3, "reorder": 0.3}], indirect=True)
@pytest.mark.parametrize("round_", range(soak.FACTOR))
def test_killed_at_random(site, qstash, round_):
    """Payments are made once, whoever dies; and no record stays open."""
    site.kill()
    site.start(ALONE)
    chance = soak.drawn("payments", round_)
    over = threading.Event()

    def kill_now_and_then():
        while not over.wait(chance.uniform(0.2, 1.0)):
            children = Path(f"/proc/{site.process.pid}/task/{site.process.pid}/children")
            if pids := children.read_text().split():
                os.kill(int(chance.choice(pids)), signal.SIGKILL)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        results = [tasks.payment.delay(f"payment-{n}", chance.random() / 5) for n in range(12)]
        for result in results:
            result.get(timeout=250)
    finally:
        over.set()
        killer.join()
    qstash.wait_idle()

    assert [effects(f"payment-{n}") for n in range(12)] == [1] * 12
    assert not TaskResult.rows.exclude(status="SUCCESS").exists()
