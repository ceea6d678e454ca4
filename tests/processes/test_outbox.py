"""A process is killed between a commit and what should follow it; nothing is lost, nothing doubled.

A script of its own is the victim. Its transport is QStash's, but for the moment of death.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core.management import call_command
from django.db import connection

from tests.processes.conftest import ROOT, eventually
from tests.shop import tasks
from tests.shop.models import Effect

pytestmark = pytest.mark.processes

#: Runs with Django set up, "kill" at hand, and the outbox installed.
VICTIM = """
import os, signal, sys
import django
django.setup()
from django.db import transaction
from django_qstash import chord, group
from tests.outbox import dying
from tests.shop.models import Effect
from tests.shop.tasks import note, add
kill = dying.kill
{code}
print("survived")
"""


@pytest.fixture
def for_processes(monkeypatch):
    """What the test starts has the outbox app installed, too."""
    monkeypatch.setenv("TESTS_OUTBOX", "1")


@pytest.fixture
def site_with_outbox(for_processes, outbox_app, site):
    yield site
    outbox_app.objects.all().delete()


def run(site, code, moment=""):
    """Run the script; its exit status."""
    environment = {
        **site.environment,
        "TESTS_DIES": moment,
        "DJANGO_QSTASH_TRANSPORT": "tests.outbox.dying.Dying",
    }
    connection.close()
    done = subprocess.run(
        [sys.executable, "-c", VICTIM.format(code=code)],
        cwd=ROOT,
        env=environment,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def effects(name=None):
    rows = Effect.objects.all()
    return (rows.filter(name=name) if name else rows).count()


SENDS = """
with transaction.atomic():
    Effect.objects.create(name="order")
    note.delay("mail")
    group(note.s(f"part-{i}") for i in range(3)).apply_async()
    if os.environ["TESTS_DIES"] == "before the commit":
        kill()
"""
PARTS = ["mail", "part-0", "part-1", "part-2"]


def test_killed_before_the_commit_nothing_is_sent(site_with_outbox, outbox_app, qstash):
    assert run(site_with_outbox, SENDS, "before the commit") == -9

    call_command("flush_outbox", verbosity=0)
    qstash.wait_idle()
    assert (effects(), outbox_app.objects.count()) == (0, 0)


@pytest.mark.parametrize("moment", ["before the publish", "after the publish"])
def test_killed_after_the_commit_everything_is_sent_by_the_next_that_passes_by(
    site_with_outbox, outbox_app, qstash, moment
):
    assert run(site_with_outbox, SENDS, moment) == -9
    assert (effects("order"), outbox_app.objects.count()) == (1, 4)

    # The sender is given a while to do it itself; then any delivery sends it.
    outbox_app.objects.update(until=0)
    tasks.add.delay(1, 1)
    eventually(lambda: not outbox_app.objects.exists())
    qstash.wait_idle()

    assert [effects(name) for name in PARTS] == [1, 1, 1, 1]


def test_killed_in_the_middle_of_a_group_of_several_requests(site_with_outbox, outbox_app, qstash):
    site_with_outbox.environment["DJANGO_QSTASH_BATCH_SIZE"] = "2"
    code = 'group([note.s(f"part-{i}") for i in range(6)]).apply_async()'

    assert run(site_with_outbox, code, "after the publish") == -9
    assert outbox_app.objects.count() == 6
    outbox_app.objects.update(until=0)
    call_command("flush_outbox", verbosity=0)
    eventually(lambda: effects() >= 6)
    qstash.wait_idle()

    assert [effects(f"part-{i}") for i in range(6)] == [1] * 6


def test_while_qstash_is_down_sites_go_on_and_it_is_sent_when_it_is_back(
    site_with_outbox, outbox_app, qstash
):
    url = site_with_outbox.environment["QSTASH_URL"]
    site_with_outbox.environment["QSTASH_URL"] = "http://127.0.0.1:9"
    assert run(site_with_outbox, SENDS + 'note.delay("outside")') == 0
    site_with_outbox.environment["QSTASH_URL"] = url
    assert (effects("order"), outbox_app.objects.count()) == (1, 5)

    call_command("flush_outbox", verbosity=0)
    eventually(lambda: effects() >= 6)
    qstash.wait_idle()

    assert [effects(name) for name in [*PARTS, "outside"]] == [1] * 5


def test_processes_that_sweep_at_once_send_everything_once(site_with_outbox, outbox_app, qstash):
    site_with_outbox.environment["DJANGO_QSTASH_BATCH_SIZE"] = "5"
    code = 'kept = [note.delay(f"n-{i}") for i in range(20)]'
    assert (
        run(site_with_outbox, f"with transaction.atomic():\n    {code}\n", "before the publish")
        == -9
    )
    outbox_app.objects.update(until=0)
    sweepers = [
        subprocess.Popen(
            [sys.executable, "tests/manage.py", "flush_outbox"],
            cwd=ROOT,
            env=site_with_outbox.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for sweeper in sweepers:
        sweeper.communicate(timeout=60)

    assert [sweeper.returncode for sweeper in sweepers] == [0, 0, 0]
    eventually(lambda: effects() >= 20)
    qstash.wait_idle()
    assert (effects(), outbox_app.objects.count()) == (20, 0)
