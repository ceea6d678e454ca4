"""``timeout=``: the time that a run has as a whole."""

from __future__ import annotations

import pytest

from django_qstash import RetryPolicy, RunFailed, workflow
from django_qstash.testing import QStashSandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tidy_registry")]

SLOWLY = RetryPolicy(max_attempts=3, initial=600, jitter=0)


@pytest.fixture
def qstash():
    with QStashSandbox() as sandbox:
        yield sandbox


def refuse():
    raise ConnectionError("refused")


def ended(qstash, body, **options):
    """Seconds until the run of this body has failed, how it did, and the messages it took."""
    began = qstash.clock.time()
    run = workflow("timed", timeout="1m", **options)(body).trigger()
    for _ in range(200):
        qstash.advance(1)
        if run.ready():
            break
    with pytest.raises(RunFailed) as failed:
        run.result(1)
    return round(qstash.clock.time() - began), str(failed.value), run.run.messages


def test_it_ends_a_run_that_waits_for_parallel_steps(qstash):
    def body(ctx):
        ctx.step.options(retry=SLOWLY).start("part", refuse).result()

    seconds, said, messages = ended(qstash, body)

    assert "did not end within 60 seconds" in said
    assert (seconds, messages) == (60, 4)


def test_it_ends_a_run_that_waits_for_its_next_attempt(qstash):
    attempts = []

    def body(ctx):
        attempts.append(ctx.run.attempt)
        refuse()

    seconds, said, _ = ended(qstash, body, retry=SLOWLY)

    assert "did not end within 60 seconds" in said
    assert (seconds, attempts) == (60, [1])


def test_it_ends_a_run_whose_step_waits_for_its_next_attempt(qstash):
    seconds, said, _ = ended(qstash, lambda ctx: ctx.step.run("part", refuse), retry=SLOWLY)

    assert "did not end within 60 seconds" in said
    assert seconds == 60


class TestExpires:
    """As for a task: what has not begun by then does not begin."""

    @pytest.fixture
    def late(self):
        return workflow("late", expires=60)(lambda ctx: ctx.step.sleep("nap", 3600))

    @pytest.mark.parametrize(
        "start",
        [
            lambda late: late.trigger(delay=120),
            lambda late: late.apply_async(countdown=120),
            lambda late: late.s().apply_async(countdown=120),
            lambda late: late.apply_async(expires=10, countdown=30),
        ],
    )
    def test_a_run_that_comes_too_late_is_canceled(self, start, late, qstash):
        run = start(late)
        qstash.advance(180)

        assert run.status in ("canceled", "REVOKED")

    def test_one_that_has_begun_goes_on(self, late, qstash):
        run = late.trigger(delay=30)
        qstash.advance(2 * 3600)

        assert run.status == "completed"
