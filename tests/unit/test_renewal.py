"""The one thread that renews the leases of a process."""

from __future__ import annotations

import threading
import time

import pytest

from django_qstash.messages import TaskMessage
from django_qstash.tasks.renewal import kept


class Store:
    """A holder of leases that counts."""

    def __init__(self) -> None:
        self.renewed = threading.Event()

    def renew(self, message, token):
        self.renewed.set()
        return True

    def can_renew_within(self, *, atomic):
        return True


@pytest.fixture
def message():
    return TaskMessage(id="held", run="first", task="held")


def test_a_short_lease_is_renewed_in_time_by_a_thread_that_was_idle(settings, message):
    settings.DJANGO_QSTASH_LEASE = 0.3
    for _ in range(2):
        store = Store()
        with kept(store, message, "token"):
            assert store.renewed.wait(2)
        # Nothing is left to renew: the thread looks again in seconds, unless it is woken.
        time.sleep(0.3)


def test_a_lease_of_the_usual_length_wakes_nobody(settings, message):
    settings.DJANGO_QSTASH_LEASE = 30
    store = Store()
    with kept(store, message, "token") as lease:
        assert lease.due - time.monotonic() > 9
        assert not store.renewed.is_set()
