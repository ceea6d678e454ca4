"""New code meets old runs."""

from __future__ import annotations

import logging
import warnings

import pytest

from django_qstash.exceptions import RunFailed
from django_qstash.workflows import signals
from django_qstash.workflows.context import ChangedInputWarning
from tests.shop import workflows as w
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def deployed(outbox, monkeypatch):
    """Runs of ``old`` until they sleep, then goes on with ``new``."""

    def run_on(old, new):
        monkeypatch.setattr(type(w.changing), "function", staticmethod(old))
        run = w.changing.delay()
        deliver(outbox)
        monkeypatch.setattr(type(w.changing), "function", staticmethod(new))
        run.signal("go")
        deliver(outbox)
        return run

    return run_on


def go(ctx):
    ctx.step.wait_for_signal("go")


def test_a_run_keeps_the_version_that_it_began_with(deployed, outbox):
    def old(ctx):
        ctx.step.run("one", w.effect, "one")
        go(ctx)

    def new(ctx):
        version = ctx.get_version("split", 1, 2)
        ctx.step.run("one", w.effect, "one")
        go(ctx)
        return version, ctx.get_version("split", 1, 2), ctx.get_version("later", 1, 3)

    assert deployed(old, new).result(1) == [1, 1, 3]
    run = w.changing.delay()
    deliver(outbox)
    run.signal("go")
    deliver(outbox)
    assert run.result(1) == [2, 2, 3]


def test_patched(deployed):
    def old(ctx):
        go(ctx)

    def new(ctx):
        before = ctx.patched("before")
        go(ctx)
        return before, ctx.patched("after"), ctx.deprecate_patch("before")

    assert deployed(old, new).result(1) == [False, True, None]


def test_a_version_that_the_code_no_longer_knows_fails_the_run(deployed):
    def old(ctx):
        ctx.get_version("split", 1, 1)
        go(ctx)

    def new(ctx):
        ctx.get_version("split", 2, 3)
        go(ctx)

    with pytest.raises(RunFailed, match="goes by version 1 of 'split', and the code knows 2 to 3"):
        deployed(old, new).result(1)


def test_steps_may_be_inserted_removed_and_reordered(deployed, effects):
    def old(ctx):
        for name in ("a", "b", "c"):
            ctx.step.run(name, w.effect, name)
        go(ctx)

    def new(ctx):
        for name in ("c", "new", "a"):
            ctx.step.run(name, w.effect, name)
        go(ctx)
        return "done"

    assert deployed(old, new).result(1) == "done"
    assert effects == {"a": 1, "b": 1, "c": 1, "new": 1}


def test_another_kind_under_a_recorded_id_is_named(deployed):
    def old(ctx):
        ctx.step.run("pause", w.effect, "pause")
        go(ctx)

    def new(ctx):
        ctx.step.sleep("pause", 5)

    with pytest.raises(RunFailed, match="is recorded as a step.run, and the code now asks for a s"):
        deployed(old, new).result(1)


def test_other_arguments_are_a_warning_and_a_signal(deployed):
    heard = []

    def old(ctx):
        ctx.step.run("one", w.effect, "one", 1)
        go(ctx)

    def new(ctx):
        first = ctx.step.run("one", w.effect, "one", 2)
        go(ctx)
        return first

    def hear(step_id, **_):
        heard.append(step_id)

    signals.step_input_changed.connect(hear)
    try:
        with pytest.warns(ChangedInputWarning, match="its recorded result is used"):
            assert deployed(old, new).result(1) == 1
    finally:
        signals.step_input_changed.disconnect(hear)
    assert heard == ["one"]


def test_what_json_cannot_carry_is_no_change(deployed):
    def old(ctx):
        ctx.step.run("one", lambda thing: 1, object())
        go(ctx)
        return 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert deployed(old, old).result(1) == 1


def test_signals_and_entries_tell_of_a_run(loopback, settings, caplog):
    heard = []
    names = ("run_started", "run_suspended", "run_completed", "step_completed")

    def hear(signal, **told):
        heard.append((signal.name, told.get("step_id")))

    for name in names:
        getattr(signals, name).connect(hear, sender=w.sleepy)
    settings.DJANGO_QSTASH_WORKFLOW_VERBOSE = True
    with caplog.at_level(logging.INFO, "django_qstash.workflows.verbose"):
        w.sleepy.delay(5)

    assert heard == [
        ("run_started", None),
        ("step_completed", "before"),
        ("run_suspended", None),
        ("step_completed", "nap"),
        ("step_completed", "after"),
        ("run_completed", None),
    ]
    said = [r.message for r in caplog.records if r.name == "django_qstash.workflows.verbose"]
    assert [entry.partition('"eventType": "')[2].partition('"')[0] for entry in said] == [
        "SUBMIT_FIRST_INVOCATION",
        "ENDPOINT_START",
        "RUN_SINGLE",
        "SUBMIT_STEP",
        "ENDPOINT_START",
        "RUN_SINGLE",
        "RUN_SINGLE",
        "SUBMIT_CLEANUP",
    ]
    assert '"logLevel": "INFO"' in said[0]
