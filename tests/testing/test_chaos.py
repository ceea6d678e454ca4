"""Bad days by lot: good workflows bear them; what is wrong with others is found, by its seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from django_qstash.exceptions import NonDeterminismError
from django_qstash.testing import ChaosError, QStashSandbox, chaos, run_inline
from django_qstash.testing import day as one_day
from django_qstash.workflows import RetryPolicy, notify, send_signal, workflow
from django_qstash.workflows.models import WorkflowRun
from tests.shop import workflows as shop
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db

#: Effects outside of the database.
PAID: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_paid():
    PAID.clear()
    shop.EFFECTS.clear()


def effects():
    """How often each thing has happened, by the database."""
    return Counter(Effect.objects.values_list("name", flat=True))


def book(name):
    Effect.objects.create(name=name)
    return name


def pay(name):
    PAID[name] += 1
    return f"paid {PAID[name]}"


@workflow("chaos.good")
def good(ctx):
    """Everything that is done in the database is done in atomic steps."""
    ctx.step.run("book", book, "booked", atomic=True)
    approved = ctx.step.wait_for_signal("approved", timeout="1h")
    paid = ctx.step.wait_for_event("paid", "paid-7", timeout="1h")
    ctx.step.sleep("pause", "2m")
    parts = [ctx.step.options(atomic=True).start(f"part-{n}", book, f"part {n}") for n in range(2)]
    ctx.step.gather(*parts)
    ctx.step.run_workflow("child", noted)
    return [approved.data, paid.data]


@workflow("chaos.noted")
def noted(ctx):
    ctx.step.run("note", book, "noted", atomic=True)


TOLD = {"signals": {"approved": "yes"}, "events": [("paid-7", 12)]}


class TestGoodOnes:
    def test_bear_twenty_bad_days(self):
        report = chaos(good, seeds=20, effects=effects, once="*", **TOLD)

        assert report.bad == []
        assert {day.run.output[0] for day in report.days} == {"yes"}
        assert report.calm.effects == {"booked": 1, "part 0": 1, "part 1": 1, "noted": 1}
        assert report.calm.faults == []
        assert sum(len(day.faults) for day in report.days) > 20
        assert str(report).startswith("chaos.good: 20 days with ")
        assert str(report).endswith(" faults, 0 went wrong.")

    def test_leave_nothing_behind(self):
        chaos(good, seeds=2, **TOLD)

        assert not WorkflowRun.objects.exists()
        assert not Effect.objects.exists()

    def test_steps_that_are_called_again_are_told(self):
        report = chaos(shop.add_up, {"a": 1}, seeds=20)

        assert set(report.repeated) <= {"first", "second"}
        assert max(report.repeated.values()) > 1
        assert report.calm.committed == {"first": 1, "second": 1}

    def test_steps_of_children_are_counted_by_their_workflow(self):
        report = chaos(shop.parent, seeds=1)

        assert report.calm.committed == {"tests.shop.workflows.child:answer": 1}

    def test_a_run_that_fails_on_a_calm_day_has_to_fail_on_others(self):
        report = chaos(shop.broken, seeds=10)

        assert not report.calm.run.succeeded
        assert not any(day.run.succeeded for day in report.days)

    def test_stand_ins_stand_in_on_every_day(self):
        report = chaos(
            shop.approval, seeds=5, step_overrides={"approved": "by nobody", "ask": None}
        )

        assert {day.run.output for day in report.days} == {"by nobody"}
        assert not shop.EFFECTS

    def test_the_same_seed_is_the_same_day(self):
        chosen = [3, 5]
        first = chaos(good, seeds=chosen, **TOLD)
        many = chaos(good, seeds=6, **TOLD)

        assert [day.seed for day in first.days] == chosen
        for day in first.days:
            again = many.days[day.seed]
            assert day.faults == again.faults
            assert day.run.calls == again.run.calls
            assert [each.status for each in day.run.deliveries] == [
                each.status for each in again.run.deliveries
            ]

    def test_other_peoples_chance_is_left_alone(self):
        random.seed(5)
        expected = random.random()
        random.seed(5)

        chaos(shop.add_up, {"a": 1}, seeds=2)

        assert random.random() == expected

    def test_sleeps_take_no_time_however_long(self):
        report = chaos(shop.sleepy, {"seconds": 40 * 24 * 3600}, seeds=2)

        assert [day.run.output for day in report.days] == ["slept", "slept"]

    def test_in_a_sandbox_that_is_open(self):
        with QStashSandbox() as qstash:
            chaos(shop.add_up, {"a": 1}, seeds=2)

            assert qstash.deliveries == []

    @pytest.mark.django_db(transaction=True)
    def test_with_transactions_of_its_own(self):
        report = chaos(good, seeds=5, effects=effects, once="*", **TOLD)

        assert len(report.days) == 5
        assert not WorkflowRun.objects.exists()


class TestBadOnes:
    def test_a_step_that_is_not_atomic_writes_twice(self):
        @workflow("chaos.books_twice")
        def careless(ctx):
            ctx.step.run("book", book, "booked")
            ctx.step.run("ship", book, "shipped")

        with pytest.raises(ChaosError, match="The effect 'booked' came to 2 instead of 1") as error:
            chaos(careless, seeds=40, effects=effects)

        report = error.value.report
        seeds = [day.seed for day in report.bad]
        assert f"again with seeds={seeds}" in str(error.value)
        assert "the process " in str(error.value)
        with pytest.raises(ChaosError):
            chaos(careless, seeds=seeds[:1], effects=effects)

    def test_a_payment_that_is_made_twice(self):
        @workflow("chaos.pays_twice")
        def pays(ctx):
            return ctx.step.run("pay", pay, "rent")

        with pytest.raises(ChaosError, match=r"Step 'pay' did its work \d times instead of 1"):
            chaos(pays, seeds=40, once=["pay"])
        with pytest.raises(ChaosError, match=r"effects\(\) came to 2 instead of 1"):
            chaos(pays, seeds=40, effects=lambda: PAID["rent"])

    def test_what_the_other_side_recognises_is_paid_once(self):
        known = set()

        def pay_by_key(key):
            if key not in known:
                known.add(key)
                PAID["rent"] += 1

        @workflow("chaos.pays_by_key")
        def pays(ctx):
            ctx.step.run("pay", pay_by_key, str(ctx.uuid()))

        report = chaos(pays, seeds=40, effects=lambda: PAID["rent"])

        assert report.repeated["pay"] > 1

    def test_a_body_that_draws_lots(self):
        @workflow("chaos.draws")
        def draws(ctx):
            ctx.step.run(f"way {random.randint(0, 10**9)}", book, "gone", atomic=True)
            ctx.step.sleep("rest", 60)
            ctx.step.run("last", book, "last", atomic=True)

        with pytest.raises(NonDeterminismError, match="did not ask for 'way "):
            run_inline(draws, always_replay=True)
        # The very calm day replays it once.
        with pytest.raises(NonDeterminismError):
            chaos(draws, seeds=1)

    def test_a_body_that_draws_lots_and_is_replayed_by_a_fault_only(self):
        @workflow("chaos.draws_unseen")
        def draws(ctx):
            ctx.step.run(f"way {random.randint(0, 10**9)}", book, "gone", atomic=True)
            ctx.step.run("last", book, "last", atomic=True)

        with pytest.raises(ChaosError, match="did not ask for 'way ") as error:
            chaos(draws, seeds=20, effects=effects)
        assert "The effect 'gone' came to 2" in str(error.value)

    def test_effects_in_the_body_itself(self):
        @workflow("chaos.in_the_body")
        def impatient(ctx):
            PAID["body"] += 1
            ctx.step.run("work", book, "worked", atomic=True)

        with pytest.raises(ChaosError, match=r"effects\(\) came to \d instead of 1"):
            chaos(impatient, seeds=20, effects=lambda: PAID["body"])

    def test_an_effect_that_is_lost(self):
        @workflow("chaos.forgets")
        def forgets(ctx):
            if not PAID["begun"]:
                PAID["begun"] += 1
                ctx.step.run("book", book, "booked", atomic=True)
            ctx.step.run("last", book, "last", atomic=True)
            PAID["begun"] = 0

        report = chaos(forgets, seeds=20, effects=effects, check=False)

        problems = [problem for day in report.bad for problem in day.problems]
        assert "The effect 'booked' came to 0 instead of 1." in problems

    def test_a_run_that_ends_otherwise(self):
        @workflow("chaos.looks_around", retries=0)
        def looks_around(ctx):
            if Effect.objects.exists():
                raise RuntimeError("somebody was here before")
            ctx.step.run("work", book, "worked", atomic=True)
            ctx.step.run("rest", pay, "rest")

        with pytest.raises(ChaosError, match=r"ended with RuntimeError.*; on a calm day it comp"):
            chaos(looks_around, seeds=20)

    def test_a_run_that_never_ends(self, monkeypatch):
        monkeypatch.setattr(one_day, "ENOUGH", 30)

        @workflow("chaos.never_ends", retry=RetryPolicy(max_attempts=10**9, initial=1, maximum=1))
        def never_ends(ctx):
            raise ConnectionError

        report = chaos(never_ends, seeds=0, check=False)

        assert report.calm.problems[0].startswith("It never ends")

    def test_a_run_that_nobody_tells_anything_stands_still(self):
        report = chaos(shop.approval, seeds=1, check=False)

        assert report.calm.problems == ["The run stands still: it waits for signal:approved."]
        assert report.days[0].run.error is None


class TestMistakes:
    def test_names_of_steps_that_there_are_not(self):
        with pytest.raises(ValueError, match=r"once: the run has met no 'x'.*first, second"):
            chaos(shop.add_up, {"a": 1}, seeds=1, once="x")
        with pytest.raises(ValueError, match=r"step_overrides: the run has met no 'x'"):
            chaos(shop.add_up, {"a": 1}, seeds=1, step_overrides={"x": 1})

    def test_a_signal_that_comes_too_late_is_told(self):
        report = chaos(shop.add_up, {"a": 1}, seeds=3, signals={"late": 1})

        assert report.bad == []

    def test_several_signals_of_one_name_come_in_their_order(self):
        report = chaos(shop.two_signals, seeds=15, signals=[("word", 1), ("word", 2)])

        assert {tuple(day.run.output) for day in report.days} == {(1, 2)}


def test_senders_are_not_the_run():
    """Who sends a signal in the middle of a delivery does not die with it."""

    @workflow("chaos.sends")
    def sends(ctx):
        ctx.step.run("tell", lambda: send_signal(ctx.run_id, "self", 1), atomic=True)
        ctx.step.run("announce", lambda: notify("chaos-all", 2), atomic=True)
        first = ctx.step.wait_for_signal("self", timeout="1h")
        other = ctx.step.wait_for_signal("other", timeout="1h")
        return [first.data, other.data, ctx.step.wait_for_event("all", "chaos-all").data]

    report = chaos(sends, seeds=20, once="*", signals={"other": 3})

    assert {tuple(day.run.output) for day in report.days} == {(1, 3, 2)}
