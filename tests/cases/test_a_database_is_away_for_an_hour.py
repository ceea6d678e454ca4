"""What was sent meanwhile waits at QStash, and is done when the database is back. Nobody sweeps."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connections

from django_qstash import chain, clock, shared_task
from django_qstash.workflows import workflow
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = 60


@shared_task(name="outage.note", atomic=True)
def note(before, name):
    Effect.objects.create(name=name)
    return [*before, name]


@workflow("outage.flow")
def flow(ctx, name):
    ctx.step.options(atomic=True).run("note", lambda: Effect.objects.create(name=name) and None)
    ctx.step.sleep("nap", 10)
    return name


@pytest.fixture
def outage(monkeypatch):
    """``outage(seconds)``: no statement is answered for so long, in any thread."""
    ends = []
    kind = type(connections["default"])
    make = kind.create_cursor

    def create_cursor(self, name=None):
        if ends and clock.time() < ends[-1]:
            raise OperationalError("could not connect to server: Connection refused")
        return make(self, name)

    monkeypatch.setattr(kind, "create_cursor", create_cursor)
    yield lambda seconds: ends.append(clock.time() + seconds)
    ends.clear()


@pytest.mark.parametrize("minutes", [1, 4, 30, 60])
def test_tasks_and_runs_go_on_when_it_is_back(minutes, embedded, outage):
    run = flow.trigger({"name": "run"})
    result = chain(note.s([], "first"), note.s("second")).delay()
    outage(minutes * MINUTE)

    # The deliveries come; none of them can be taken.
    embedded.advance(minutes * MINUTE - 1)
    embedded.advance(40 * MINUTE)

    assert result.get(timeout=1) == ["first", "second"]
    assert run.result(1) == "run"
    assert sorted(Effect.objects.values_list("name", flat=True)) == ["first", "run", "second"]
