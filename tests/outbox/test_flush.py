"""QStash being away only delays: what it could not take is kept, and swept."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.admin import AdminSite
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.management import CommandError, call_command
from django.db import transaction
from django.urls import path

from django_qstash import clock, group
from django_qstash.exceptions import PublishError
from django_qstash.outbox import flush
from django_qstash.outbox.tasks import flush_outbox_task
from django_qstash.results.models import TaskResult
from django_qstash.tasks import outbox as outboxes
from tests.door import knock, letter
from tests.shop.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def time():
    """A clock that stands still; this process has not looked for anything yet."""
    with clock.use(clock.VirtualClock(clock.time())) as virtual:
        outboxes._outbox = None
        yield virtual
        outboxes._outbox = None


def flush_outbox(*args):
    out = StringIO()
    call_command("flush_outbox", *args, stdout=out)
    return out.getvalue()


class TestKept:
    def test_what_could_not_be_sent_at_once(self, rows, qstash):
        qstash.down = True
        result = add.delay(2, 3)

        row = rows.get()
        assert (row.task_id, row.token, row.attempts) == (result.id, "", 1)
        assert "cannot be reached" in row.error
        assert TaskResult.objects.get(task_id=result.id).status == "PENDING"

    def test_what_could_not_be_sent_after_the_commit(self, rows, qstash):
        qstash.down = True
        with transaction.atomic():
            add.delay(2, 3)
            add.delay(3, 4)

        assert [row.token for row in rows.all()] == ["", ""]

    def test_what_qstash_refuses_is_an_error_at_the_call(self, rows, qstash):
        qstash.status = 400
        with pytest.raises(PublishError):
            add.delay(2, 3)

        assert rows.count() == 0
        assert not TaskResult.objects.exists()

    def test_too_many_requests_is_no_refusal(self, rows, qstash):
        qstash.status = 429
        add.delay(2, 3)

        assert rows.count() == 1

    def test_a_group_of_which_some_were_refused_is_completed_later(self, rows, qstash):
        qstash.takes = 2
        result = group([add.s(i, i) for i in range(5)]).apply_async()

        assert (len(qstash.sent), rows.count()) == (2, 3)
        qstash.takes = None
        flush_outbox()
        assert len(qstash.sent) == 5
        assert len(result) == 5

    def test_a_group_of_which_all_were_refused_was_not_sent(self, rows, qstash):
        qstash.takes = 0
        with pytest.raises(PublishError, match="0 of 3 messages were sent"):
            group([add.s(i, i) for i in range(3)]).apply_async()

        assert rows.count() == 0

    def test_a_group_of_several_batches_is_written_first(self, rows, qstash, settings):
        settings.DJANGO_QSTASH_BATCH_SIZE = 2
        qstash.down = True
        group([add.s(i, i) for i in range(5)]).apply_async()

        assert rows.count() == 5
        qstash.down = False
        assert flush_outbox() == "5 messages sent.\n"
        assert qstash.batches[1:] == [2, 2]


class TestSwept:
    def test_by_a_later_publish(self, rows, qstash, time):
        qstash.down = True
        add.delay(1, 1)
        qstash.down = False
        time.advance(30)

        add.delay(2, 2)

        assert (len(qstash.sent), rows.count()) == (2, 0)

    def test_by_a_later_delivery(self, rows, qstash, time):
        qstash.down = True
        add.delay(1, 1)
        qstash.down = False
        time.advance(30)

        assert knock(letter("tests.shop.tasks.add", 2, 3)).status_code == 200

        assert (len(qstash.sent), rows.count()) == (1, 0)

    def test_not_before_its_time(self, rows, qstash, time):
        qstash.down = True
        add.delay(1, 1)
        qstash.down = False

        add.delay(2, 2)

        assert (len(qstash.sent), rows.count()) == (1, 1)

    def test_not_inside_a_transaction_of_that_database(self, rows, qstash, time):
        qstash.down = True
        add.delay(1, 1)
        qstash.down = False
        time.advance(30)

        with transaction.atomic():
            outboxes.sweep()
            assert qstash.sent == []

    def test_a_sweep_that_fails_disturbs_nobody(self, rows, qstash, time):
        qstash.down = True
        add.delay(1, 1)
        time.advance(30)

        assert knock(letter("tests.shop.tasks.add", 2, 3)).status_code == 200

        assert rows.get().attempts == 2

    def test_rows_whose_sender_died_after_the_commit(self, rows, qstash, time):
        with transaction.atomic():
            add.delay(1, 1)
            transaction.get_connection().run_on_commit.clear()
        assert (qstash.sent, rows.exclude(token="").count()) == ([], 1)

        outboxes.sweep()
        assert qstash.sent == []
        time.advance(60)
        outboxes.sweep()
        assert (len(qstash.sent), rows.count()) == (1, 0)

    def test_one_that_is_refused_each_time_holds_nobody_up(self, rows, qstash, time):
        with transaction.atomic():
            add.delay(1, 1)
            add.delay(2, 2)
            transaction.get_connection().run_on_commit.clear()
        bad = rows.first()
        rows.filter(pk=bad.pk).update(letter='{"no": "letter"}')
        time.advance(60)

        waits = []
        for _ in range(4):
            outboxes.sweep()
            row = rows.get()
            waits.append(row.until / 1000 - time.time())
            time.advance(waits[-1] + 1)

        assert len(qstash.sent) == 1
        assert waits == sorted(waits)
        assert waits[-1] > 5 * waits[0]
        assert (row.attempts, row.error) == (4, "The letter names no 'task'.")

    def test_one_bad_message_in_a_batch(self, rows, qstash, time):
        with transaction.atomic():
            bad = add.apply_async((1, 1), label="bad")
            add.delay(2, 2)
            qstash.refuses = lambda envelope: b"bad" in repr(envelope.options).encode()

        assert [row.task_id for row in rows.all()] == [bad.id]
        assert len(qstash.sent) == 1


class TestCommand:
    def test_it_sends_all_that_waits_at_once(self, rows, qstash):
        qstash.down = True
        add.delay(1, 1)
        add.delay(2, 2)
        qstash.down = False

        assert flush_outbox() == "2 messages sent.\n"
        assert rows.count() == 0

    def test_nothing_waits(self, rows, qstash):
        assert flush_outbox("--database", "default") == "0 messages sent.\n"

    def test_it_fails_while_qstash_is_away(self, rows, qstash):
        qstash.down = True
        add.delay(1, 1)

        with pytest.raises(CommandError, match="still in the outbox.*cannot be reached"):
            flush_outbox()

    def test_it_leaves_alone_what_its_sender_is_about_to_send(self, rows, qstash):
        with transaction.atomic():
            add.delay(1, 1)
            transaction.get_connection().run_on_commit.clear()

        assert flush_outbox() == "0 messages sent.\n"

    def test_an_unknown_database(self, rows):
        with pytest.raises(CommandError, match="--database other"):
            flush_outbox("--database", "other")

    def test_without_the_app_it_says_so(self):
        with pytest.raises(CommandError, match="INSTALLED_APPS"):
            flush_outbox()

    def test_the_task_does_the_same(self, rows, qstash):
        qstash.down = True
        add.delay(1, 1)
        qstash.down = False

        assert flush_outbox_task() == 1


class TestTwoSweeps:
    def test_each_row_is_taken_by_one(self, rows, qstash, time):
        qstash.down = True
        for i in range(4):
            add.delay(i, i)
        time.advance(60)

        first = flush.rows.take("default", 2)
        second = flush.rows.take("default", 10)

        assert len(flush.rows.held("default", first.token, 10)) == 2
        assert len(flush.rows.held("default", second.token, 10)) == 2


def test_the_admin_shows_and_sends_them(rows, qstash, rf, admin_user, settings):
    from django_qstash.outbox.admin import OutgoingMessageAdmin

    site = AdminSite()
    site.register(rows.model, OutgoingMessageAdmin)
    # The site's own addresses were made while the app was not installed.
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": [path("admin/", site.urls)]})
    qstash.down = True
    add.delay(1, 1)
    page = OutgoingMessageAdmin(rows.model, site)
    request = rf.get("/")
    request.user, request.session = admin_user, {}
    request._messages = FallbackStorage(request)

    shown = page.changelist_view(request).render().content.decode()
    assert "cannot be reached" in shown
    page.send_now(request, rows.all())
    qstash.down = False
    page.send_now(request, rows.all())

    assert [message.level_tag for message in request._messages] == ["error", "info"]
    assert rows.count() == 0
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)


def test_rows_that_were_never_delivered_are_cleared_after_a_while(rows, qstash, time):
    from django_qstash.results.cleanup import clear

    add.delay(1, 1)
    assert TaskResult.rows.count() == 1
    clear()
    assert TaskResult.rows.count() == 1
    time.advance(31 * 86400)
    clear()
    assert TaskResult.rows.count() == 0
