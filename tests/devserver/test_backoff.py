from __future__ import annotations

import pytest

from django_qstash.devserver import backoff
from django_qstash.wire import retries

NOW = 1_800_000_000.0


def test_the_standard_schedule_is_qstashs():
    waits = [retries.standard(retried) for retried in range(6)]
    assert waits == pytest.approx([12.18, 148.41, 1808.04, 22026.47, 86400, 86400], abs=0.01)
    assert retries.standard(10_000) == 86400


@pytest.mark.parametrize(
    ("text", "retried", "seconds"),
    [
        ("1000 * (1 + retried)", 1, 2),
        ("-5", 0, 0),
        ("1e12", 0, 86400),
        ("pow(10, 999)", 0, 86400),
        ("exp(1e9)", 0, 86400),
        # No value: the standard wait, for the message was accepted and must go on.
        ("1 / retried", 0, 12.18),
        ("sqrt(-1)", 0, 12.18),
        ("1e308 * 10 - 1e308 * 10", 0, 12.18),
        (None, 0, 12.18),
    ],
)
def test_an_expression_counts_milliseconds_up_to_a_day(text, retried, seconds):
    assert backoff.computed(text, retried) == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Retry-After", "120")], 120),
        ([("retry-after", "0")], 0),
        ([("Retry-After", "Fri, 15 Jan 2027 08:00:10 GMT")], 10),
        ([("Retry-After", "Fri, 15 Jan 2027 07:00:00 GMT")], 0),
        ([("Retry-After", "6m5s")], 365),
        ([("X-RateLimit-Reset", "1.5s")], 1.5),
        ([("X-RateLimit-Reset-Requests", "20ms")], 0.02),
        ([("X-RateLimit-Reset-Tokens", "2us")], 2e-6),
        ([("X-RateLimit-Reset", "30"), ("Retry-After", "5")], 5),
        ([("Retry-After", "nonsense"), ("X-RateLimit-Reset", "30")], 30),
        # More than a day is ignored, and so is what cannot be read.
        ([("Retry-After", "90000")], None),
        ([("X-RateLimit-Reset", "1800000000")], None),
        ([("Retry-After", "-5")], None),
        ([("Retry-After", "Fri, 99 Foo")], None),
        ([("Retry-After", "")], None),
        ([], None),
    ],
)
def test_retry_after_in_all_its_forms(headers, seconds):
    found = retries.asked_for(headers, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))
