"""The story of one task: sent, delivered, run, recorded, read."""

from __future__ import annotations

import pytest

from django_qstash import AsyncResult
from tests.shop import tasks

pytestmark = pytest.mark.django_db


def test_its_result_can_be_read(loopback):
    result = tasks.add.delay(2, 3)

    assert result.get(timeout=1) == 5
    assert AsyncResult(result.id).state == "SUCCESS"


def test_an_async_body_is_run_to_its_end(loopback):
    assert tasks.add_async.delay(2, 3).get(timeout=1) == 5


def test_a_failure_is_recorded_once_and_stays_in_qstash(loopback):
    result = tasks.fail.delay("no paper")

    with pytest.raises(ValueError, match="no paper"):
        result.get(timeout=1)
    assert result.state == "FAILURE"
    assert "raise ValueError(message)" in result.traceback
    assert [status for _, status in loopback.answers] == [489, 200]


def test_a_result_that_cannot_be_stored_is_a_failure_and_not_a_loop(loopback):
    result = tasks.unstorable.delay()

    with pytest.raises(TypeError, match="which JSON cannot carry"):
        result.get(timeout=1)
