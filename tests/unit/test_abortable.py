"""``AbortableTask``: as in ``celery.contrib.abortable``."""

from __future__ import annotations

import pytest

from django_qstash import AsyncResult, chain, shared_task
from django_qstash.celery.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from django_qstash.exceptions import ResultsNotInstalled
from django_qstash.messages import TaskMessage, decode
from tests.door import knock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]


@pytest.fixture
def count():
    @shared_task(base=AbortableTask, bind=True, name="count")
    def count(self, stop_at=None):
        for number in range(10):
            if self.is_aborted():
                return f"stopped at {number}"
            if number == stop_at:
                # As another process would.
                self.AsyncResult(self.request.id).abort()
        return "counted"

    return count


def test_one_that_is_aborted_while_it_runs_can_tell(count, loopback):
    result = count.delay(3)

    assert result.get() == "stopped at 4"
    assert result.state == "SUCCESS"
    assert not result.is_aborted()


def test_one_that_is_left_alone_ends_by_itself(count, loopback):
    assert count.delay().get() == "counted"


def test_the_state_is_seen_from_outside_while_it_runs(count, loopback):
    seen = []

    @shared_task(base=AbortableTask, bind=True, name="look")
    def look(self):
        handle = AbortableAsyncResult(self.request.id)
        handle.abort()
        seen.append((handle.state, handle.ready(), AsyncResult(self.request.id).state))

    look.delay()
    assert seen == [(ABORTED, False, ABORTED)]


def test_one_that_has_not_begun_does_not_run(count, outbox):
    result = count.delay()
    result.abort()

    knock(TaskMessage.from_dict(decode(outbox.sent[0].body)))

    assert result.state == "REVOKED"


def test_its_handles_are_abortable_wherever_they_come_from(count, outbox):
    for result in (count.delay(), count.s().delay(), chain(count.s(), count.si()).delay()):
        assert isinstance(result, AbortableAsyncResult)


def test_called_as_a_function_it_is_never_aborted(count):
    assert count() == "counted"
    assert count.apply().get() == "counted"


def test_without_the_results_app_it_is_refused(count, outbox, settings):
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if "results" not in each]
    with pytest.raises(ResultsNotInstalled):
        count.delay().abort()
