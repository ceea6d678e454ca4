"""A row is saved, and QStash has its schedule; a row is deleted, and it has not. Come what may."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from django_qstash.schedules import remote, sync
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule
from django_qstash.transport import get_transport
from tests.schedules.conftest import there
from tests.schedules.test_models import NOTE, make

pytestmark = pytest.mark.django_db(transaction=True)
OURS = "https://shop.example.com/qstash/webhook/"


def fresh(row):
    return TaskSchedule.objects.get(pk=row.pk)


class TestTelling:
    def test_created_changed_paused_resumed_deleted(self, qstash):
        row = make(timezone="Europe/Berlin")
        assert there(qstash) == {row.schedule_id: (False, "CRON_TZ=Europe/Berlin 0 3 * * *", OURS)}
        assert fresh(row).synced_at is not None

        row.cron = "0 4 * * mon"
        row.save()
        assert there(qstash)[row.schedule_id][1] == "CRON_TZ=Europe/Berlin 0 4 * * 1"

        row.is_active = False
        row.save()
        assert there(qstash)[row.schedule_id][0] is True
        row.args = ["y"]
        row.save()
        assert there(qstash)[row.schedule_id][0] is True

        row.is_active = True
        row.save()
        assert there(qstash)[row.schedule_id][0] is False

        row.delete()
        assert there(qstash) == {}
        assert DeletedSchedule.objects.get().done_at is not None

    def test_inactive_at_creation_is_paused(self, qstash):
        row = make(is_active=False)
        assert there(qstash)[row.schedule_id][0] is True

    def test_every_option_arrives(self, qstash):
        row = make(
            retries=2,
            timeout="90s",
            retry_delay="1000 * (1 + retried)",
            delay="2m",
            label="reports",
            headers={"X-Shop": "1"},
            callback="https://example.com/done",
            callback_headers={"X-Done": "1"},
            failure_callback="https://example.com/failed",
            flow_control={"key": "shop", "rate": 5, "period": 60},
            redact="body",
        )
        assert fresh(row).sync_error == ""
        shown = get_transport().request("GET", f"/v2/schedules/{row.schedule_id}")
        expected = {
            "retries": 2,
            "timeout": 90,
            "retryDelayExpression": "1000 * (1 + retried)",
            "delay": 120,
            "label": "reports",
            "callback": "https://example.com/done",
            "flowControlKey": "shop",
            "rate": 5,
            # The site hears of it first, and calls the other from there.
            "failureCallback": f"{OURS}?callback=given-up",
        }
        assert {name: shown[name] for name in expected} == expected
        assert shown["header"]["X-Shop"] == ["1"]
        assert shown["body"].startswith("REDACTED:")
        assert remote.Remote(shown).differences(sync.envelope_of(row)) == []

    def test_a_fifo_queue_is_told(self, qstash, settings):
        settings.DJANGO_QSTASH_QUEUES = {"mail": {"parallelism": 2}}
        row = make(queue="mail")
        shown = get_transport().request("GET", f"/v2/schedules/{row.schedule_id}")
        assert shown["queueName"] == "mail"

    def test_waiting_runs_are_kept_in_line_by_qstash_as_well(self, qstash):
        row = make(overlap="queue")
        shown = get_transport().request("GET", f"/v2/schedules/{row.schedule_id}")
        assert (shown["flowControlKey"], shown["parallelism"]) == (row.schedule_id, 1)

    def test_saving_what_has_not_changed_tells_nothing(self, qstash):
        row = make()
        before = qstash.ask(lambda state: state.schedules.get(row.schedule_id))
        row.save()
        assert qstash.ask(lambda state: state.schedules.get(row.schedule_id)) is before

    def test_deleting_many_at_once(self, qstash):
        make(name="a"), make(name="b")
        TaskSchedule.objects.all().delete()
        assert there(qstash) == {}


class Flaky:
    """The real transport, that fails when it is told to: after what was asked, or before."""

    failing: set[str] = set()
    late = False

    def __init__(self):
        from django_qstash.transport.http import HttpTransport

        self.real = HttpTransport()

    def __getattr__(self, name):
        return getattr(self.real, name)

    def _answer(self, verb, call):
        from django_qstash.exceptions import PublishError

        if verb not in self.failing:
            return call()
        if self.late:
            call()
        raise PublishError(f"QStash is away ({verb}).")

    def schedule(self, envelope):
        return self._answer("POST", lambda: self.real.schedule(envelope))

    def request(self, method, path, body=None):
        verb = path.rsplit("/", 1)[-1] if method == "PATCH" else method
        return self._answer(verb, lambda: self.real.request(method, path, body))


@pytest.fixture(params=[False, True], ids=["before", "after"])
def flaky(request, qstash, settings):
    """A QStash that fails before it does what was asked, or after, its answer lost."""
    settings.DJANGO_QSTASH_TRANSPORT = f"{__name__}.Flaky"
    Flaky.late, Flaky.failing = request.param, set()
    yield Flaky
    Flaky.failing = set()


def mend(flaky):
    flaky.failing = set()
    call_command("task_schedules", "--sync", "--no-input")


class TestFailing:
    def test_creating(self, flaky, qstash):
        flaky.failing = {"POST"}
        row = make(is_active=False)
        assert "QStash is away (POST)" in fresh(row).sync_error
        if not flaky.late:
            with pytest.raises(CommandError, match="1 schedule could not"):
                call_command("task_schedules", "--sync", "--no-input")
        mend(flaky)
        assert there(qstash)[row.schedule_id][0] is True
        assert (fresh(row).sync_error, fresh(row).is_active) == ("", False)

    def test_pausing_what_was_just_created(self, flaky, qstash):
        flaky.failing = {"pause"}
        row = make(is_active=False)
        assert "away (pause)" in fresh(row).sync_error
        mend(flaky)
        assert there(qstash)[row.schedule_id][0] is True
        assert fresh(row).is_active is False

    def test_changing(self, flaky, qstash):
        row = make()
        flaky.failing = {"POST"}
        row.cron = "0 5 * * *"
        row.save()
        assert fresh(row).sync_error
        mend(flaky)
        assert there(qstash)[row.schedule_id][1] == "0 5 * * *"

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_pausing_and_resuming(self, flaky, qstash, verb):
        row = make(is_active=verb == "pause")
        flaky.failing = {verb}
        row.is_active = verb == "resume"
        row.save()
        assert f"away ({verb})" in fresh(row).sync_error
        mend(flaky)
        assert there(qstash)[row.schedule_id][0] is (verb == "pause")
        assert fresh(row).is_active is (verb == "resume")
        assert fresh(row).sync_error == ""

    @pytest.mark.parametrize("verb", ["DELETE", "GET"])
    def test_deleting(self, flaky, qstash, verb):
        row = make()
        flaky.failing = {verb}
        row.delete()
        tomb = DeletedSchedule.objects.get()
        assert (tomb.done_at, tomb.name) == (None, "nightly")
        assert f"away ({verb})" in tomb.error
        mend(flaky)
        assert there(qstash) == {}
        tomb.refresh_from_db()
        assert tomb.done_at is not None


class TestAtTheSameTime:
    def test_a_row_that_changes_while_qstash_is_told(self, qstash, settings):
        row = make()
        told = []

        class Slow(Flaky):
            def schedule(self, envelope):
                if not told:
                    told.append(envelope)
                    other = TaskSchedule.objects.get()
                    other.cron = "0 7 * * *"
                    other.write()
                return self.real.schedule(envelope)

        settings.DJANGO_QSTASH_TRANSPORT = use(Slow)
        row.cron = "0 6 * * *"
        row.save()
        assert told[0].options["cron"] == "0 6 * * *"
        assert there(qstash)[row.schedule_id][1] == "0 7 * * *"
        assert fresh(row).sync_error == ""

    def test_a_row_that_is_deleted_while_qstash_is_told(self, qstash, settings):
        class Slow(Flaky):
            def schedule(self, envelope):
                TaskSchedule.objects.all()._raw_delete("default")
                return self.real.schedule(envelope)

        settings.DJANGO_QSTASH_TRANSPORT = use(Slow)
        make()
        assert there(qstash) == {}


def use(kind):
    """The dotted path of a transport that is made in a test."""
    globals()["_Used"] = kind
    return f"{__name__}._Used"


def test_a_copy_of_another_sites_database_does_not_take_its_schedules(qstash, settings):
    row = make()
    settings.DJANGO_QSTASH_DOMAIN = "https://staging.example.com"
    row.cron = "* * * * *"
    row.save()
    assert there(qstash) == {row.schedule_id: (False, "0 3 * * *", OURS)}
    assert "which is not this site" in fresh(row).sync_error
    row.delete()
    assert there(qstash) == {row.schedule_id: (False, "0 3 * * *", OURS)}


def test_what_was_paused_at_qstash_stays_so_when_the_row_is_saved(qstash):
    row = make()
    remote.pause(row.schedule_id)
    row.cron = "0 5 * * *"
    row.save()
    assert there(qstash)[row.schedule_id][:2] == (True, "0 5 * * *")
    assert fresh(row).is_active is False


def test_a_row_whose_task_is_gone_says_so_and_changes_nothing(qstash):
    row = make()
    TaskSchedule.objects.update(task_name="tests.shop.tasks.gone")
    row = TaskSchedule.objects.get()
    row.cron = "0 5 * * *"
    row.save()
    assert "No task 'tests.shop.tasks.gone'" in fresh(row).sync_error
    assert there(qstash)[row.schedule_id][1] == "0 3 * * *"


def test_without_an_address_a_row_is_kept_and_says_what_is_missing(qstash, settings):
    settings.DJANGO_QSTASH_DOMAIN = ""
    row = make()
    assert "DJANGO_QSTASH_DOMAIN is not set" in fresh(row).sync_error
    assert NOTE in fresh(row).task_name
