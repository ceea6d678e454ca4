"""Each story below comes to the same end, whatever happens to its deliveries."""

from __future__ import annotations

import pytest

from django_qstash import AsyncResult, Ignore, chain, chord, shared_task
from tests.cases.world import Killed
from tests.shop.models import Effect

#: The default of DJANGO_QSTASH_DELIVERY_ATTEMPTS.
ATTEMPTS = 5
pytestmark = [pytest.mark.django_db, pytest.mark.soak]


def had(name):
    Effect.objects.create(name=name)


@pytest.fixture
def t(tidy_registry):  # noqa: C901 - tasks one after another
    """The tasks of the stories."""

    @shared_task(name="note")
    def note(value, name="noted"):
        had(name)
        return value

    @shared_task(name="pay", atomic=True)
    def pay(value, name="paid"):
        had(name)
        return value

    @shared_task(name="fail")
    def fail(*args):
        had("tried")
        raise ValueError("no paper")

    @shared_task(name="told")
    def told(request, exc, traceback):
        had(f"told {exc}")

    @shared_task(name="flaky", bind=True, atomic=True)
    def flaky(self, until):
        had(f"try {self.request.retries}")
        if self.request.retries < until:
            raise self.retry(countdown=60)
        return self.request.retries

    @shared_task(name="ignored")
    def ignored():
        had("ignored")
        raise Ignore

    @shared_task(name="once", acks_late=False)
    def once():
        had("once")

    @shared_task(name="poison")
    def poison():
        had("swallowed")
        raise Killed

    @shared_task(name="total", atomic=True)
    def total(values):
        had("total")
        return sum(values)

    return locals()


def states_of(states):
    return [(name, status) for name, status, _ in states]


def test_a_task_that_succeeds(tell, t):
    def story(time):
        t["note"].delay(5)

    def check(states, effects):
        assert states == [("note", "SUCCESS", 5)]
        assert effects["noted"] >= 1

    tell(story, check)


def test_a_task_whose_effects_happen_exactly_once(tell, t):
    def story(time):
        for number in range(2):
            t["pay"].delay(number)

    def check(states, effects):
        assert states_of(states) == [("pay", "SUCCESS")] * 2
        assert effects == {"paid": 2}

    tell(story, check)


def test_a_task_that_fails_and_its_errback(tell, t):
    def story(time):
        t["fail"].apply_async(link_error=t["told"].s())

    def check(states, effects):
        assert states_of(states) == [("fail", "FAILURE"), ("told", "SUCCESS")]
        assert effects["told no paper"] >= 1

    tell(story, check)


def test_retries_and_the_link_after_them(tell, t):
    def story(time):
        t["flaky"].apply_async((2,), link=t["pay"].s(name="linked"))

    def check(states, effects):
        assert states_of(states) == [("flaky", "SUCCESS"), ("pay", "SUCCESS")]
        # Each try's effects were rolled back, but those of the last.
        assert effects == {"try 2": 1, "linked": 1}

    tell(story, check)


def test_a_chain(tell, t):
    def story(time):
        chain(t["pay"].s(1, name="one"), t["flaky"].si(1), t["pay"].s(name="three")).delay()

    def check(states, effects):
        assert states_of(states) == [
            ("flaky", "SUCCESS"),
            ("pay", "SUCCESS"),
            ("pay", "SUCCESS"),
        ]
        assert effects == {"one": 1, "try 1": 1, "three": 1}

    tell(story, check)


def test_a_chain_that_breaks_off(tell, t):
    def story(time):
        chain(t["pay"].s(1), t["fail"].s(), t["pay"].s(name="never")).apply_async(
            link_error=t["told"].s()
        )

    def check(states, effects):
        assert sorted(states_of(states)) == [
            ("fail", "FAILURE"),
            ("pay", "FAILURE"),
            ("pay", "SUCCESS"),
            ("told", "SUCCESS"),
        ]
        assert effects["paid"] == 1
        assert "never" not in effects

    tell(story, check)


def test_a_task_that_is_ignored(tell, t):
    def story(time):
        t["ignored"].delay()

    def check(states, effects):
        assert states_of(states) == [("ignored", "IGNORED")]

    tell(story, check)


def test_a_task_that_expires_while_it_waits(tell, t):
    def story(time):
        t["note"].apply_async((1,), expires=10)
        time.advance(20)

    def check(states, effects):
        assert states_of(states) == [("note", "REVOKED")]
        assert effects == {}

    tell(story, check)


def test_an_eta_beyond_the_longest_delay(tell, t, settings):
    settings.DJANGO_QSTASH_MAX_DELAY = 1000
    sent = []

    def story(time):
        sent[:] = [time]
        t["late"].apply_async((time.time() + 5000,), countdown=5000)

    @shared_task(name="late", atomic=True)
    def late(due):
        assert sent[0].time() >= due - 1
        had("late")

    t["late"] = late

    def check(states, effects):
        assert states_of(states) == [("late", "SUCCESS")]
        assert effects == {"late": 1}

    tell(story, check)


def test_a_task_that_is_revoked_while_it_waits(tell, t):
    def story(time):
        sent = t["note"].apply_async((1,), countdown=60)
        # By its id alone: its message cannot be withdrawn, and is delivered.
        AsyncResult(sent.id).revoke()

    def check(states, effects):
        assert states_of(states) == [("note", "REVOKED")]
        assert effects == {}

    tell(story, check)


def test_a_task_that_qstash_does_not_deliver_again(tell, t):
    """With ``retries=0`` each death is the last: QStash gives the letter up, and tells so."""

    def story(time):
        t["pay"].apply_async((1,), retries=0, link=t["pay"].s(name="linked").set(retries=0))

    def check(states, effects):
        assert states_of(states) == [("pay", "SUCCESS")] * 2
        assert effects == {"paid": 1, "linked": 1}

    tell(story, check)


def test_a_task_that_runs_at_most_once(tell, t):
    def story(time):
        t["once"].delay()

    def check(states, effects):
        ((name, status),) = states_of(states)
        assert status in {"SUCCESS", "FAILURE"}
        assert effects.get("once", 0) <= 1

    tell(story, check, same=False)


def test_a_task_that_kills_its_process_every_time(tell, t):
    def story(time):
        t["poison"].apply_async(link_error=t["told"].s())

    def check(states, effects):
        assert states_of(states) == [("poison", "FAILURE"), ("told", "SUCCESS")]
        assert effects["swallowed"] <= ATTEMPTS

    tell(story, check, same=False)


def test_a_chord_with_a_retry_in_its_header(tell, t):
    def story(time):
        header = [t["pay"].s(1), t["flaky"].s(1), chain(t["pay"].s(2), t["pay"].s())]
        chord(header, t["total"].s()).apply_async()

    def check(states, effects):
        assert ("total", "SUCCESS", 4) in states
        assert effects == {"paid": 3, "try 1": 1, "total": 1}

    tell(story, check)


def test_a_chord_with_a_failure_in_its_header(tell, t):
    def story(time):
        header = [t["pay"].s(1), t["fail"].s(), t["pay"].s(2)]
        chord(header, t["total"].s().on_error(t["told"].s())).apply_async()

    def check(states, effects):
        assert ("total", "FAILURE") in states_of(states)
        assert effects["paid"] == 2
        assert "total" not in effects

    tell(story, check, same=False)
