"""Which database a letter is kept in: ``using=``, else the one that the router gives the outbox."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from django_qstash import chain, clock, group
from django_qstash.exceptions import OptionError
from django_qstash.tasks import outbox as outboxes
from tests.shop.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


class ToOther:
    """The outbox is in the other database."""

    def db_for_write(self, model, **_):
        return "other" if model.__name__ == "OutgoingMessage" else None

    db_for_read = db_for_write


@pytest.fixture
def other(rows, tmp_path):
    """A second database, with an outbox of its own."""
    connections.databases["other"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "other.sqlite3"),
        "OPTIONS": {},
    }
    try:
        # By itself: Django's TestCase would refuse a database that the test does not name.
        connections["other"].connect()
        with connections["other"].schema_editor() as editor:
            editor.create_model(rows.model)
        yield rows.using("other")
    finally:
        connections["other"].close()
        del connections["other"], connections.databases["other"]
        outboxes._outbox = None


def test_a_transaction_of_another_database_does_not_hold_a_letter_back(rows, other, qstash):
    with transaction.atomic(using="other"):
        add.delay(1, 1)
        assert len(qstash.sent) == 1


def test_using_another_database_is_part_of_its_transaction(rows, other, qstash):
    with transaction.atomic(using="other"), transaction.atomic():
        add.apply_async((1, 1), using="other")
        group([add.s(2, 2), add.s(3, 3)]).apply_async(using="other")
        add.s(4, 4).apply_async(using="other")
        add.apply_async_on_commit((5, 5), using="other")
        assert (qstash.sent, rows.count(), other.count()) == ([], 0, 5)

    assert (len(qstash.sent), other.count()) == (5, 0)


def test_rolled_back_there_it_is_gone(rows, other, qstash):
    with transaction.atomic(using="other"):
        add.apply_async((1, 1), using="other")
        transaction.set_rollback(True, using="other")

    assert (qstash.sent, other.count()) == ([], 0)


def test_a_later_step_has_no_database_of_its_own(rows, other, qstash):
    with pytest.raises(OptionError, match="a later step is sent by a delivery"):
        chain(add.s(1, 1), add.s(2).set(using="other")).delay()
    with transaction.atomic(using="other"):
        chain(add.s(1, 1), add.s(2)).apply_async(using="other")
        assert other.count() == 1


def test_the_results_are_elsewhere_and_show_it_once_it_was_sent(rows, other, qstash):
    with transaction.atomic(using="other"):
        result = add.apply_async((1, 1), using="other")
        assert not result.exists()

    assert result.exists()


def test_the_router_decides_where_nobody_says(rows, other, qstash, settings):
    settings.DATABASE_ROUTERS = ["tests.outbox.test_databases.ToOther"]
    with transaction.atomic(using="other"):
        add.delay(1, 1)
        assert other.count() == 1
    with transaction.atomic():
        add.delay(2, 2)
        assert len(qstash.sent) == 2


def test_what_was_left_in_another_database_is_swept_by_any_process(rows, other, qstash):
    qstash.down = True
    add.apply_async((1, 1), using="other")
    qstash.down = False
    with clock.use(clock.VirtualClock(clock.time() + 60)):
        outboxes._outbox = None
        outboxes.sweep()

    assert (len(qstash.sent), other.count()) == (1, 0)


def test_the_command_looks_into_every_database(rows, other, qstash, capsys):
    qstash.down = True
    add.apply_async((1, 1), using="other")
    add.delay(2, 2)
    qstash.down = False

    call_command("flush_outbox")

    assert capsys.readouterr().out == "2 messages sent.\n"


def test_a_database_that_nobody_knows(rows, qstash):
    with pytest.raises(OptionError, match="using='nowhere': DATABASES knows default"):
        add.apply_async((1, 1), using="nowhere")


def test_members_of_one_canvas_go_through_one_database(rows, other, qstash):
    with pytest.raises(OptionError, match="through one database"):
        group([add.s(1, 1).set(using="other"), add.s(2, 2)]).apply_async()
