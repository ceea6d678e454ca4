"""Chords whose processes are killed while members are counted: nothing is lost, one body runs."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from django_qstash import chain, chord, group
from django_qstash.results.models import Chord, GroupMember
from django_qstash.transport import get_transport
from tests import soak
from tests.processes.conftest import GUNICORN
from tests.shop import tasks
from tests.shop.models import Effect

pytestmark = [pytest.mark.processes, pytest.mark.soak]

#: One delivery at a time in each process, so that who dies takes nobody along.
ALONE = tuple("1" if GUNICORN[i - 1] == "--threads" else word for i, word in enumerate(GUNICORN))
MOMENTS = [*(f"statement {number}" for number in range(1, 7)), "commit", "published", "done"]


def effects(name):
    return Effect.objects.filter(name=name).count()


@pytest.mark.parametrize("round_", range(soak.FACTOR))
def test_killed_at_any_statement_of_a_join(site, qstash, tmp_path, round_):
    deaths = tmp_path / "deaths"
    site.kill()
    site.environment["TESTS_DEATHS"] = str(deaths)
    site.start(ALONE)
    moments = soak.drawn("moments", round_).sample(MOMENTS, len(MOMENTS))
    header = [tasks.mortal.s(number, moment) for number, moment in enumerate(moments)]

    result = chord(header)(tasks.tally.s("tallied"))

    assert result.get(timeout=90) == [len(MOMENTS), sum(range(len(MOMENTS)))]
    qstash.wait_idle()
    assert effects("tallied") == 1
    # A member that does not make the chord full has no more than four statements.
    assert set(deaths.read_text().splitlines()) >= {*MOMENTS} - {"statement 5", "statement 6"}
    assert GroupMember.objects.count() == len(MOMENTS)
    assert [(row.done, row.state) for row in Chord.objects.all()] == [(len(MOMENTS), Chord.FIRED)]


# The pause after a third failure is 36 seconds even here, and some meet more than one.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("round_", range(soak.FACTOR))
@pytest.mark.parametrize("qstash", [{"duplicate": 0.2, "reorder": 0.3}], indirect=True)
def test_killed_at_random_while_chords_stand_in_chords(site, qstash, round_):
    chance = soak.drawn("killer", round_)
    over = threading.Event()

    def kill_now_and_then():
        while not over.wait(chance.uniform(0.3, 1.2)):
            workers = Path(f"/proc/{site.process.pid}/task/{site.process.pid}/children")
            pids = workers.read_text().split()
            if pids:
                os.kill(int(chance.choice(pids)), signal.SIGKILL)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        inner = [
            chord([tasks.add.s(n, m) for m in range(5)], tasks.tally.s(f"inner-{n}"))
            for n in range(4)
        ]
        sums = group(chain(each, tasks.last.s()) for each in inner)
        result = (sums | tasks.tally.s("outer")).apply_async()
        values = result.get(timeout=250)
    finally:
        over.set()
        killer.join()
    qstash.wait_idle()

    assert values == [4, sum(5 * n + 10 for n in range(4))]
    assert [effects(f"inner-{n}") for n in range(4)] == [1, 1, 1, 1]
    assert effects("outer") == 1
    assert not Chord.objects.exclude(state=Chord.FIRED).exists()


def test_a_large_chord(site, qstash, settings):
    """Ten thousand members with ``make soak``."""
    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Measured"
    size = min(10_000, 250 * soak.FACTOR)

    header = (tasks.add.s(number, number) for number in range(size))
    result = chord(header)(tasks.tally.s("large"))

    assert result.get(timeout=60 + size / 10) == [size, size * (size - 1)]
    qstash.wait_idle()
    assert effects("large") == 1
    assert result.parent.completed_count() == size
    transport = get_transport()
    assert transport.batches == [100] * (size // 100) + [size % 100] * (size % 100 > 0)
    assert transport.longest < 1000
