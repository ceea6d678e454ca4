"""The process that triggers a run is killed at each of its moments: there is one run, or none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core.management import call_command
from django.db import connection

from django_qstash.workflows import sweep
from django_qstash.workflows.models import FINAL, WorkflowRun
from tests.processes.conftest import ROOT, configure, eventually
from tests.shop.models import Effect
from tests.shop.workflows import atomic_note

pytestmark = pytest.mark.processes


@pytest.fixture
def killed(site, qstash, settings, tmp_path):
    """How many processes died, of those that triggered alone and of those in a transaction."""
    environment = {
        **configure(settings, qstash, site.port),
        "DJANGO_QSTASH_TRANSPORT": "tests.processes.forking.Dying",
        "TESTS_DEATHS": str(tmp_path),
    }
    connection.close()
    started = f"triggering.main({site.port})"
    subprocess.run(
        [sys.executable, "-c", f"from tests.processes import triggering; {started}"],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=60,
    )
    return {kind: int((tmp_path / kind).read_text()) for kind in ("alone", "within")}


def names(killed):
    return [f"{kind}-{at}" for kind, last in killed.items() for at in range(1, last + 2)]


def sent_by_command():
    call_command("workflows", "sweep", verbosity=0)


def sent_by_another_trigger():
    sweep._next_by_traffic = 0.0
    atomic_note.trigger({"text": "another"}, run_id="another")


@pytest.mark.parametrize("send", [sent_by_command, sent_by_another_trigger])
@pytest.mark.timeout(120)
def test_whoever_is_killed_while_it_triggers_leaves_one_run_or_none(killed, send, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 0)
    assert min(killed.values()) >= 5
    left = dict(WorkflowRun.objects.values_list("run_id", "owed"))
    # Those that died before their commit, between it and the publish, and after all of it.
    assert 0 < len(left) < len(names(killed))
    assert {f"{kind}-{last + 1}" for kind, last in killed.items()} <= left.keys()
    assert any(left.values())

    send()

    def ended():
        return not WorkflowRun.objects.exclude(status__in=FINAL).exists()

    eventually(ended)
    # Their callers, who have heard nothing, ask for the same run again.
    for name in names(killed):
        atomic_note.trigger({"text": name}, run_id=name)
    eventually(ended)
    runs = WorkflowRun.objects.exclude(run_id="another")
    assert sorted(runs.values_list("run_id", flat=True)) == sorted(names(killed))
    assert {run.status for run in runs} == {"completed"}
    assert not runs.filter(owed__isnull=False).exists()
    effects = Effect.objects.exclude(detail="another").values_list("detail", flat=True)
    assert sorted(effects) == sorted(names(killed))
