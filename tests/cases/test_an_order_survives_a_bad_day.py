"""An order, its payment and its mails: in a transaction, with QStash away, doubled, and crashing.

Told with the tools that users have for their own tests.
"""

from __future__ import annotations

import pytest
from django.db import transaction

from django_qstash import chain, chord, shared_task
from django_qstash.tasks.registry import tasks as registry
from django_qstash.testing import QStashSandbox
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    """The tasks of the story. What they do to the world is an Effect."""

    @shared_task(name="order.charge", atomic=True)
    def charge(order):
        Effect.objects.create(name=f"charged {order}")
        return order

    @shared_task(name="order.pack", atomic=True)
    def pack(order, part):
        Effect.objects.create(name=f"packed {order}", detail=part)
        return part

    @shared_task(name="order.ship", atomic=True)
    def ship(parts, order):
        Effect.objects.create(name=f"shipped {order}", detail=",".join(parts))
        mail.delay(order)
        return len(parts)

    @shared_task(name="order.mail", bind=True, atomic=True, max_retries=3)
    def mail(self, order):
        if self.request.retries < 2:
            raise self.retry(countdown=600)
        Effect.objects.create(name=f"mailed {order}")

    def place(order, *, fails=False):
        with transaction.atomic():
            Effect.objects.create(name=f"placed {order}")
            packed = chord([pack.si(order, part) for part in ("box", "bow")], ship.s(order))
            result = chain(charge.s(order), packed).apply_async()
            if fails:
                transaction.set_rollback(True)
        return result

    yield place
    for name in ("charge", "pack", "ship", "mail"):
        registry.unregister(f"order.{name}")


def told():
    """What has happened to the world, in its order, the parts of a fan sorted."""
    return sorted(f"{row.name} {row.detail}".strip() for row in Effect.objects.all())


WHOLE = sorted(
    [
        "placed 7",
        "charged 7",
        "packed 7 box",
        "packed 7 bow",
        "shipped 7 box,bow",
        "mailed 7",
    ]
)


def test_on_a_good_day(shop, outbox_app):
    with QStashSandbox() as qstash:
        result = shop(7)
        qstash.assert_sent("order.charge", 7)
        qstash.deliver_all()

        assert (result.get(timeout=0), told()) == (2, WHOLE)
        assert [each.retries for each in qstash.sent_to("order.mail")] == [0, 1, 2]
        assert [each.delay for each in qstash.sent_to("order.mail")] == [0, 600, 600]


def test_rolled_back_nothing_of_it_happens(shop, outbox_app):
    with QStashSandbox() as qstash:
        shop(7, fails=True)
        qstash.deliver_all()

        qstash.assert_nothing_sent()
        assert told() == []


def test_while_qstash_is_away_it_waits(shop, outbox_app):
    with QStashSandbox() as qstash:
        qstash.is_down = True
        shop(7)
        qstash.advance(3600)
        assert told() == ["placed 7"]

        qstash.is_down = False
        qstash.advance(60)
        qstash.deliver_all()
        assert told() == WHOLE


def test_delivered_three_times_each(shop, outbox_app):
    with QStashSandbox() as qstash:
        shop(7)
        qstash.deliver_all(copies=3)

        assert told() == WHOLE


@pytest.mark.parametrize("step", range(1, 12))
def test_each_of_its_deliveries_dies_once(shop, outbox_app, step):
    with QStashSandbox() as qstash:
        result = shop(7)
        qstash.deliver_all(crash_at=step)

        assert (result.get(timeout=0), told()) == (2, WHOLE)


@pytest.mark.parametrize("seed", range(3))
def test_all_of_it_by_lot(shop, outbox_app, seed):
    knobs = {"duplicate": 0.5, "drop_ack": 0.3, "reorder": 0.5, "delay": 0.3, "seed": seed}
    with QStashSandbox(faults=knobs) as qstash:
        shop(7)
        qstash.deliver_all()

        assert told() == WHOLE
