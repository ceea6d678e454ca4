"""``atomic=True``: body and result commit together, so effects happen exactly once."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from django.core.checks import run_checks
from django.db import IntegrityError, connection, connections, transaction

from django_qstash import AsyncResult, Ignore, clock, shared_task
from django_qstash.results.database import DatabaseStore
from django_qstash.results.models import TaskResult
from tests.door import knock, letter
from tests.shop.models import Effect

pytestmark = pytest.mark.usefixtures("tidy_registry")

store = DatabaseStore()


@pytest.fixture
def pay():
    @shared_task(name="pay", atomic=True, bind=True)
    def pay(self, how="well"):
        Effect.objects.create(name="paid")
        if how == "badly":
            raise ValueError("declined")
        if how == "again":
            self.retry(countdown=0)
        if how == "ignored":
            raise Ignore
        if how == "odd":
            return object()
        if how == "broken":
            with transaction.atomic():
                TaskResult.objects.create(task_id=None)
        return how

    return pay


@pytest.mark.django_db(transaction=True)
class TestOnce:
    def test_a_success_and_its_effects_are_there_together(self, pay):
        message = letter("pay")
        assert knock(message).status_code == 200
        assert (Effect.objects.count(), AsyncResult(message.id).state) == (1, "SUCCESS")

    def test_a_second_delivery_has_no_effect(self, pay):
        message = letter("pay")
        for _ in range(3):
            knock(message)
        assert Effect.objects.count() == 1

    @pytest.mark.parametrize("how", ["badly", "again", "ignored", "odd", "broken"])
    def test_all_but_a_success_rolls_the_body_back(self, pay, how, outbox):
        message = letter("pay", how)
        knock(message)
        assert Effect.objects.count() == 0
        status = {"again": "RETRY", "ignored": "IGNORED"}.get(how, "FAILURE")
        assert AsyncResult(message.id).state == status

    def test_the_error_that_broke_the_transaction_is_recorded(self, pay):
        message = letter("pay", "broken")
        knock(message)
        assert isinstance(AsyncResult(message.id).result, IntegrityError)

    def test_an_error_that_the_body_swallowed_rolls_it_back(self):
        @shared_task(name="swallows", atomic=True)
        def swallows():
            Effect.objects.create(name="paid")
            with contextlib.suppress(IntegrityError):
                TaskResult.objects.create(task_id=None)
            return "fine"

        message = letter("swallows")
        knock(message)
        assert (AsyncResult(message.id).state, Effect.objects.count()) == ("FAILURE", 0)

    def test_who_lost_the_lease_leaves_no_effect(self, outbox, settings):
        @shared_task(name="late", atomic=True)
        def late():
            Effect.objects.create(name="paid")
            TaskResult.rows.filter(task_id=message.id).update(lease_token="somebody-else")

        message = letter("late")
        # The row is ours inside the transaction: another's claim is played by our own write,
        # which is rolled back with everything else.
        knock(message)
        assert Effect.objects.count() == 0

    def test_on_commit_hooks_run_after_the_commit(self):
        seen = []

        @shared_task(name="hooked", atomic=True)
        def hooked():
            transaction.on_commit(lambda: seen.append(connection.in_atomic_block))

        knock(letter("hooked"))
        assert seen == [False]

    def test_an_async_body_writes_in_the_same_transaction(self):
        @shared_task(name="async pay", atomic=True)
        async def pay_async():
            await Effect.objects.acreate(name="paid")
            raise ValueError

        knock(letter("async pay"))
        assert Effect.objects.count() == 0

    def test_a_time_limit_rolls_it_back(self):
        @shared_task(name="slow pay", atomic=True, time_limit=0.1)
        def slow():
            Effect.objects.create(name="paid")
            end = time.monotonic() + 5
            while time.monotonic() < end:
                pass

        message = letter("slow pay")
        assert knock(message).status_code == 489
        assert Effect.objects.count() == 0
        assert AsyncResult(message.id).state == "FAILURE"


@pytest.mark.django_db(transaction=True)
def test_deliveries_at_once_have_one_effect(settings):
    started = threading.Event()

    @shared_task(name="pay slowly", atomic=True)
    def pay_slowly():
        Effect.objects.create(name="paid")
        started.set()
        time.sleep(0.4)

    message = letter("pay slowly")
    answers = []

    def deliver():
        try:
            answers.append(knock(message).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert set(answers) <= {200, 503}
    assert Effect.objects.count() == 1
    assert AsyncResult(message.id).state == "SUCCESS"


@pytest.mark.django_db(transaction=True)
def test_a_takeover_waits_for_the_transaction_and_then_finds_the_record(settings):
    """A lease that runs out under a living atomic body: still one effect."""
    settings.DJANGO_QSTASH_LEASE = 0.3
    if connection.vendor == "sqlite":
        connection.settings_dict["OPTIONS"]["timeout"] = 20

    @shared_task(name="outlives", atomic=True)
    def outlives():
        Effect.objects.create(name="paid")
        time.sleep(1.0)

    message = letter("outlives")
    answers = []

    def deliver():
        try:
            answers.append(knock(message).status_code)
        finally:
            connections.close_all()

    first = threading.Thread(target=deliver)
    first.start()
    time.sleep(0.6)
    second = threading.Thread(target=deliver)
    second.start()
    first.join(30)
    second.join(30)

    assert sorted(answers) in ([200, 200], [200, 503])
    assert Effect.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_atomic_body_does_not_keep_other_leases_from_being_renewed(settings):
    if connection.vendor == "sqlite":
        pytest.skip("Nothing else is written while SQLite's one write lock is held.")
    settings.DJANGO_QSTASH_LEASE = 0.6
    ready, left = threading.Barrier(2), []

    @shared_task(name="holds its row", atomic=True)
    def holds_its_row():
        ready.wait(10)
        time.sleep(1.8)

    @shared_task(name="beside it", bind=True)
    def beside_it(self):
        ready.wait(10)
        time.sleep(1.5)
        row = TaskResult.rows.get(task_id=self.request.id)
        left.append(row.lease_until / 1000 - time.time())

    def deliver(name):
        try:
            assert knock(letter(name)).status_code == 200
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=deliver, args=(name,)) for name in ("holds its row", "beside it")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert left[0] > 0


@pytest.mark.django_db
class TestWithoutResults:
    def test_it_is_refused_with_a_sentence(self, settings, pay):
        settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if "results" not in a]
        found = [m for m in run_checks() if m.id == "django_qstash.E008"]
        assert "pay" in found[0].msg
        assert knock(letter("pay")).status_code == 489
        assert Effect.objects.count() == 0


def test_the_clock_is_the_machine_s():
    assert not clock.is_virtual()
