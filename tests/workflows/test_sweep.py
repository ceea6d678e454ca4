"""What the sweep finds is sent, whatever is wrong with one of the runs."""

from __future__ import annotations

import pytest

from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.transport.local import Outbox
from django_qstash.workflows import sweep
from django_qstash.workflows.models import Closing, WorkflowRun
from tests.shop import workflows as w
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)


class Choosy(Outbox):
    """QStash, which takes all messages but those of one run."""

    error: Exception | None = None

    def publish(self, envelope):
        if self.error is not None and b"bad" in envelope.body:
            raise self.error
        return super().publish(envelope)

    def batch(self, envelopes):
        found = []
        for envelope in envelopes:
            try:
                found.append(self.publish(envelope))
            except PublishError as error:
                found.append(error)
        return found


def refusal(status):
    error = PublishError(f"QStash answered {status}.")
    error.status = status
    return error


@pytest.fixture
def choosy(settings):
    from django_qstash.transport import get_transport

    settings.DJANGO_QSTASH_TRANSPORT = f"{__name__}.Choosy"
    return get_transport()


@pytest.fixture
def two(choosy, virtual):
    """Both sleep, and their letters are lost; the bad one comes first."""
    for name in ("bad", "good"):
        w.sleepy.trigger({"seconds": 10}, run_id=name)
        deliver(choosy)
    virtual.advance(10_000)
    choosy.sent.clear()


def swept(choosy):
    return [b"good" in envelope.body for envelope in choosy.sent]


@pytest.mark.parametrize("error", [refusal(400), ImproperlyConfigured("no such account")])
class TestOneBadRun:
    def test_stops_no_letter_of_those_that_are_late(self, error, choosy, two):
        choosy.error = error

        assert sweep.sweep() == 2
        assert swept(choosy) == [True]

    def test_nor_of_those_that_are_owed(self, error, choosy, two):
        WorkflowRun.objects.update(owed=1)
        choosy.error = error

        assert sweep.sweep() == 2
        assert True in swept(choosy)
        if isinstance(error, PublishError):
            # It went out beside the refused one, and not once more.
            assert swept(choosy) == [True]
        owed = WorkflowRun.objects.filter(owed__isnull=False)
        assert list(owed.values_list("run_id", flat=True)) == ["bad"]


def test_nor_does_it_stop_the_end_of_another(choosy, virtual):
    for name, options in (("bad", {"account": "gone"}), ("good", None)):
        w.told.trigger(run_id=name)
        WorkflowRun.objects.filter(run_id=name).update(options=options)
    WorkflowRun.objects.update(
        status="failed", closing=Closing.FAILURE_URL, owed=None, completed_at="2000-01-01T00:00Z"
    )
    choosy.sent.clear()

    assert sweep.sweep() == 2
    assert [envelope.url for envelope in choosy.sent] == [w.told.failure_url]


def test_it_ends_where_qstash_cannot_be_reached(choosy, two):
    choosy.error = PublishError("QStash cannot be reached.")

    with pytest.raises(PublishError):
        sweep.sweep()
    assert choosy.sent == []
