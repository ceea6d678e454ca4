"""The states are Celery's, in Celery's order. The lists below are from its documentation."""

from __future__ import annotations

import pytest

from django_qstash import states

NAMES = (
    "PENDING",
    "RECEIVED",
    "STARTED",
    "SUCCESS",
    "FAILURE",
    "REVOKED",
    "REJECTED",
    "RETRY",
    "IGNORED",
)
ORDER = [
    states.SUCCESS,
    states.FAILURE,
    None,
    states.REVOKED,
    states.STARTED,
    states.RECEIVED,
    states.REJECTED,
    states.RETRY,
    states.PENDING,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_its_own_name(name):
    assert getattr(states, name) == name


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("READY_STATES", {"SUCCESS", "FAILURE", "REVOKED"}),
        ("UNREADY_STATES", {"PENDING", "RECEIVED", "STARTED", "REJECTED", "RETRY"}),
        ("EXCEPTION_STATES", {"RETRY", "FAILURE", "REVOKED"}),
        ("PROPAGATE_STATES", {"FAILURE", "REVOKED"}),
        ("ALL_STATES", set(NAMES) - {"IGNORED"}),
    ],
)
def test_the_sets_are_celerys(name, members):
    assert getattr(states, name) == members


def test_precedence_is_from_the_most_final_to_the_least():
    assert list(states.PRECEDENCE) == ORDER
    assert [states.precedence(state) for state in ORDER] == list(range(9))


def test_a_custom_state_ranks_between_failure_and_revoked():
    assert states.precedence("PROGRESS") == states.precedence(None) == 2


@pytest.mark.parametrize(("less", "more"), [*zip(ORDER[:0:-1], ORDER[-2::-1], strict=True)])
def test_states_compare_by_precedence(less, more):
    less, more = states.state(less or "PROGRESS"), states.state(more or "PROGRESS")

    assert less < more
    assert less <= more
    assert more > less
    assert more >= less
    assert not less > more
    assert not less >= more
    assert more != less


def test_a_state_is_a_text_like_any_other():
    pending = states.state(states.PENDING)

    assert pending == "PENDING"
    assert pending <= "PENDING"
    assert pending >= "PENDING"
    assert {pending: 1}["PENDING"] == 1
    assert max([pending, states.state("SUCCESS"), states.state("STARTED")]) == "SUCCESS"
