"""``manage.py task_schedules``: code, rows and QStash are brought together, and nothing else."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_qstash import Celery, shared_task
from django_qstash.application import current
from django_qstash.schedules import code, reconcile, remote, sync
from django_qstash.schedules.crontab import crontab
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.triggers import CronTrigger
from django_qstash.transport import get_transport
from django_qstash.wire.envelope import Envelope
from tests.schedules import test_models
from tests.schedules.conftest import there
from tests.schedules.test_models import NOTE

pytestmark = pytest.mark.django_db
OURS = "https://shop.example.com/qstash/webhook/"


def make(**fields):
    """A row that QStash was told of; there is no commit here to do that."""
    row = test_models.make(**fields)
    sync.push(row.schedule_id, "default")
    row.refresh_from_db()
    return row


def delete(row):
    row.delete()
    sync.remove(row.schedule_id, "default")


def run(*options, fails=None):
    """What the command prints, errors too."""
    out = StringIO()
    if fails is None:
        call_command("task_schedules", *options, stdout=out, stderr=out)
    else:
        with pytest.raises(CommandError, match=fails):
            call_command("task_schedules", *options, stdout=out, stderr=out)
    return out.getvalue()


def sync_now(*options, fails=None):
    return run("--sync", "--no-input", *options, fails=fails)


def put(schedule_id, body=b"{}", url=OURS, cron="0 1 * * *", **options):
    """Someone makes a schedule at QStash."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    options = {"cron": cron, "schedule_id": schedule_id, **options}
    get_transport().schedule(Envelope(url=url, body=body, options=options))


LEGACY = {
    "function": "note",
    "module": "tests.shop.tasks",
    "args": ["old"],
    "kwargs": {},
    "task_name": "Take a note",
    "options": {},
}


class TestList:
    def test_a_table(self, qstash):
        make(name="nightly", timezone="Europe/Berlin")
        make(name="asleep", is_active=False)
        TaskSchedule.objects.filter(name="asleep").update(task_name="tests.shop.tasks.gone")
        make(name="broken")
        TaskSchedule.objects.filter(name="broken").update(sync_error="QStash is away.")

        printed = run("--list")

        assert "NAME" in printed.splitlines()[0]
        assert "At 03:00 every day (Europe/Berlin)" in printed
        assert "Sat 10 Oct 2026 01:00" in printed
        assert "task is gone" in printed
        assert "error" in printed

    def test_drift_is_shown_and_changes_nothing(self, qstash):
        row = make()
        put(row.schedule_id, body=b'{"v":1}', cron="* * * * *")
        printed = run("--list")
        assert "at QStash cron is * * * * *, not 0 3 * * *" in printed
        assert there(qstash)[row.schedule_id][1] == "* * * * *"

    def test_what_only_qstash_knows_is_listed_and_foreign_ones_are_counted(self, qstash):
        put("old", LEGACY)
        put("foreign", url="https://other.example.com/")
        printed = run("--list")
        assert "Take a note" in printed
        assert "not here" in printed
        assert "1 schedule of this account fires elsewhere" in printed

    def test_rows_are_shown_even_where_qstash_is_away(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        make()
        assert "nightly" in run("--list", fails="cannot be reached")

    @pytest.mark.parametrize(
        "flag", ["--dry-run", "--prune", "--new-ids", "--move-from=https://old.example.com/"]
    )
    def test_flags_of_sync_are_refused(self, qstash, flag):
        run("--list", flag, fails=f"{flag.partition('=')[0]} belongs to --sync")

    def test_without_the_app_it_says_what_to_do(self, settings):
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if app != "django_qstash.schedules"
        ]
        run("--list", fails="add it to INSTALLED_APPS")


class TestPush:
    def test_rows_that_qstash_lacks(self, qstash):
        TaskSchedule.objects.bulk_create(
            [TaskSchedule(name="bulk", cron="@daily", task_name=NOTE, is_active=False)]
        )
        assert "create 'bulk': QStash does not know it" in run("--sync", "--dry-run")
        assert there(qstash) == {}
        sync_now()
        row = TaskSchedule.objects.get()
        assert there(qstash) == {row.schedule_id: (True, "0 0 * * *", OURS)}
        assert sync_now() == "Nothing to do.\n"

    def test_rows_that_were_deleted_at_qstash(self, qstash):
        row = make()
        remote.delete(row.schedule_id)
        assert "QStash has it no more" in sync_now()
        assert row.schedule_id in there(qstash)

    @pytest.mark.parametrize(
        ("drift", "said"),
        [
            ({"cron": "* * * * *"}, "cron is * * * * *, not 0 3 * * *"),
            ({"retries": 1}, "retries is 1, not 3"),
            ({"label": "odd"}, "label is odd, not unset"),
            ({"delay": "60s"}, "delay is 60, not unset"),
            ({"body": b'{"v":1,"kind":"schedule"}'}, "its arguments or options differ"),
        ],
    )
    def test_drift(self, qstash, drift, said):
        row = make()
        wanted = sync.envelope_of(row)
        given = {**wanted.options, **drift}
        body = given.pop("body", wanted.body)
        get_transport().schedule(Envelope(url=wanted.url, body=body, options=given))
        assert f"change 'nightly': at QStash {said}" in sync_now()
        assert remote.get(row.schedule_id).differences(wanted) == []
        assert sync_now() == "Nothing to do.\n"

    def test_rows_that_changed_by_bulk_operations(self, qstash):
        row = make()
        TaskSchedule.objects.update(cron="0 5 * * *")
        assert "change 'nightly'" in sync_now()
        assert there(qstash)[row.schedule_id][1] == "0 5 * * *"

    def test_one_that_was_paused_at_qstash_is_not_resumed(self, qstash):
        row = make()
        remote.pause(row.schedule_id)
        TaskSchedule.objects.update(cron="0 5 * * *")
        assert "it was paused there, and stays so" in sync_now()
        assert there(qstash)[row.schedule_id][:2] == (True, "0 5 * * *")
        row.refresh_from_db()
        assert row.is_active is False
        assert sync_now() == "Nothing to do.\n"

    def test_one_that_was_resumed_at_qstash_is_paused(self, qstash):
        row = make(is_active=False)
        remote.resume(row.schedule_id)
        assert "pause 'nightly'" in sync_now()
        assert there(qstash)[row.schedule_id][0] is True

    def test_a_task_that_is_gone_is_a_failure_and_touches_nothing(self, qstash):
        row = make()
        TaskSchedule.objects.update(task_name="tests.shop.tasks.gone", cron="0 5 * * *")
        printed = sync_now(fails="1 schedule could not")
        assert "No task 'tests.shop.tasks.gone' is registered" in printed
        assert there(qstash)[row.schedule_id][1] == "0 3 * * *"


class TestForeign:
    def test_other_sites_schedules_are_counted_and_never_touched(self, qstash):
        put(
            "foreign", body=b"\xff not json", url="https://other.example.com/hook", cron="5 * * * *"
        )
        put("group", url="https://shop.example.com.evil.example/qstash/webhook/")
        before = qstash.ask(lambda state: list(state.schedules))
        printed = sync_now("--prune")
        assert "2 schedules of this account fire elsewhere" in printed
        assert qstash.ask(lambda state: list(state.schedules)) == before
        assert not TaskSchedule.objects.exists()

    def test_a_site_that_moved_takes_its_own_along_and_no_others(self, qstash, settings):
        row = make(is_active=False)
        put("foreign", url="https://other.example.com/hook")
        settings.DJANGO_QSTASH_DOMAIN = "https://new.example.com"
        assert "If this site has moved" in sync_now(fails="1 schedule could not")
        sync_now("--move-from", OURS)
        assert there(qstash)[row.schedule_id] == (
            True,
            "0 3 * * *",
            "https://new.example.com/qstash/webhook/",
        )
        assert there(qstash)["foreign"][2] == "https://other.example.com/hook"

    def test_a_copy_gets_schedules_of_its_own(self, qstash, settings):
        row = make()
        settings.DJANGO_QSTASH_DOMAIN = "https://staging.example.com"
        sync_now("--new-ids")
        row.refresh_from_db()
        assert len(there(qstash)) == 2
        assert there(qstash)[row.schedule_id][2].startswith("https://staging.example.com")
        printed = sync_now()
        assert "Nothing to do." in printed
        assert "1 schedule of this account fires elsewhere" in printed


class TestPull:
    def test_an_older_payload_becomes_a_row_and_stays_as_it_is_at_qstash(self, qstash):
        put("old", LEGACY, cron="CRON_TZ=Europe/Berlin 0 7 * * *", retries=2, timeout="30s")
        remote.pause("old")
        before = qstash.ask(lambda state: state.schedules.get("old"))
        assert "take over 'Take a note': QStash has it" in sync_now()
        row = TaskSchedule.objects.get()
        assert (row.schedule_id, row.task_name, row.args) == ("old", NOTE, ["old"])
        assert (row.is_active, row.retries, row.timeout) == (False, 2, "30s")
        assert row.zone == "Europe/Berlin"
        assert qstash.ask(lambda state: state.schedules.get("old")) is before

    def test_its_own_letters_come_back_whole(self, qstash):
        row = make(
            cron="0 9 13 * *",
            only_on="* * * * fri",
            timezone="Europe/Berlin",
            kwargs={"a": 1},
            label="x",
            delay="60s",
            headers={"X-Shop": "1"},
            overlap="skip",
            options={"expires": 60},
        )
        TaskSchedule.objects.all()._raw_delete("default")
        sync_now()
        again = TaskSchedule.objects.get()
        assert again.words == row.words
        for name in ("name", "args", "kwargs", "label", "delay", "headers", "overlap", "options"):
            assert getattr(again, name) == getattr(row, name)
        assert sync_now().count("confirm") <= 1
        assert sync_now() == "Nothing to do.\n"

    def test_bodies_that_cannot_be_read_are_reported_and_are_no_failure(self, qstash):
        put("broken", body=b"\xff\xfe")
        put("other", {"v": 1, "kind": "task", "task": NOTE, "id": "1", "run": "2"})
        put("redacted", LEGACY, redact={"body": True})
        put("good", LEGACY)
        printed = sync_now()
        assert "broken cannot be read, and is left alone" in printed
        assert "other cannot be read" in printed
        assert "Its body is redacted" in printed
        assert [row.schedule_id for row in TaskSchedule.objects.all()] == ["good"]
        assert len(there(qstash)) == 4

    def test_a_task_that_is_gone_is_said_on_the_row(self, qstash):
        put("old", {**LEGACY, "function": "gone"})
        sync_now()
        assert "No task" in TaskSchedule.objects.get().sync_error

    def test_two_of_one_name(self, qstash):
        make(name="Take a note")
        put("old", LEGACY)
        sync_now()
        assert TaskSchedule.objects.filter(name="Take a note (old)").exists()


class TestPrune:
    def test_what_nobody_here_knows_is_deleted(self, qstash):
        make()
        put("old", LEGACY)
        put("foreign", url="https://other.example.com/")
        assert "delete 'old': nobody here knows it" in sync_now("--prune")
        assert "old" not in there(qstash)
        assert "foreign" in there(qstash)
        assert TaskSchedule.objects.count() == 1

    def test_an_orphan_is_finished_without_being_asked(self, qstash, settings):
        row = make()
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        delete(row)
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        assert row.schedule_id in there(qstash)
        assert "delete 'nightly': it was deleted here" in sync_now()
        assert there(qstash) == {}
        assert DeletedSchedule.objects.get().done_at is not None

    def test_one_that_comes_back_is_deleted_again(self, qstash):
        row = make()
        wanted = sync.envelope_of(row)
        delete(row)
        get_transport().schedule(wanted)
        assert "QStash has it again" in sync_now()
        assert there(qstash) == {}
        assert not TaskSchedule.objects.exists()


class TestOddBodies:
    """Ours by their shape, and no row can be made of them."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"call": {"headers": 5}}, "headers must be an object"),
            ({"call": {"retries": "x"}}, "retries='x'"),
            ({"call": {"flow_control": "x"}}, "flow_control='x'"),
            ({"only_on": "bad"}, "it ends before the hour"),
            ({"args": ["\0"]}, "holds a NUL"),
        ],
    )
    def test_they_are_told_of_and_left_alone(self, qstash, changes, words):
        letter = {"v": 1, "kind": "schedule", "id": "odd", "name": "n", "task": NOTE, "args": ["x"]}
        put("odd", {**letter, **changes})
        put("good", {**letter, "id": "good"})
        for printed in (sync_now(), sync_now()):
            assert "odd cannot be taken over, and is left alone" in printed
            assert words in printed
        assert [row.schedule_id for row in TaskSchedule.objects.all()] == ["good"]
        assert set(there(qstash)) == {"odd", "good"}

    def test_one_whose_task_is_gone_is_taken_over_and_says_so(self, qstash):
        put("odd", {"v": 1, "kind": "schedule", "id": "odd", "name": "n", "task": "gone.task"})
        assert "take over 'n'" in sync_now()
        assert "No task 'gone.task'" in TaskSchedule.objects.get().sync_error


class TestAsking:
    def test_it_asks_before_it_does_anything(self, qstash, monkeypatch):
        TaskSchedule.objects.bulk_create([TaskSchedule(name="bulk", cron="@daily", task_name=NOTE)])
        asked = []
        monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "n")
        run("--sync", fails="Nothing was done")
        assert asked == ["Do this? [y/N] "]
        assert there(qstash) == {}
        monkeypatch.setattr("builtins.input", lambda text: "y")
        assert "1 of 1 done." in run("--sync")

    def test_what_is_changed_here_while_it_asks_stays_so(self, declare, qstash, monkeypatch):
        task = declare("report", cron="0 9 * * *")
        sync_now()
        tasks.unregister(task)
        declare("report", cron="0 10 * * *")

        def somebody_is_faster(text):
            row = TaskSchedule.objects.get()
            row.is_active, row.name, row.overlap = False, "renamed", "skip"
            row.save()
            return "y"

        monkeypatch.setattr("builtins.input", somebody_is_faster)
        run("--sync")
        row = TaskSchedule.objects.get()
        assert (row.cron, row.is_active, row.name) == ("0 10 * * *", False, "renamed")
        assert row.overlap == "skip"
        assert there(qstash)[row.schedule_id][:2] == (True, "0 10 * * *")

    def test_where_nobody_answers_it_says_so(self, qstash, monkeypatch):
        make()
        TaskSchedule.objects.update(cron="0 5 * * *")

        def nobody(text):
            raise EOFError

        monkeypatch.setattr("builtins.input", nobody)
        run("--sync", fails="use --no-input")

    def test_there_is_nothing_to_ask_where_there_is_nothing_to_do(self, qstash):
        assert run("--sync") == "Nothing to do.\n"

    def test_one_failure_does_not_keep_the_others(self, qstash, settings):
        TaskSchedule.objects.bulk_create(
            [
                TaskSchedule(name="a", cron="@daily", task_name=NOTE, queue="mail"),
                TaskSchedule(name="b", cron="@daily", task_name=NOTE),
            ]
        )
        qstash.ask(lambda state: setattr(state.schedules, "_limits", Limited()))
        printed = sync_now(fails="1 schedule could not")
        assert "1 of 2 done." in printed
        assert "maxSchedules" in printed


class Limited:
    max_schedules = 1


@pytest.fixture
def beat(qstash):
    """A Celery object of the project's."""
    with current.preserved():
        app = Celery("proj", timezone="Europe/Berlin")
        yield app
        app.close()
        current.forget(app)


@pytest.fixture
def declare(qstash):
    """Makes tasks, and forgets them after the test."""
    made = []

    def declare(name, **options):
        def body(*args, **kwargs):
            """Nothing."""

        body.__name__ = name
        made.append(shared_task(name=name, **options)(body))
        return made[-1]

    yield declare
    for task in made:
        if task.name in tasks:
            tasks.unregister(task)


def rows():
    return {row.name: row for row in TaskSchedule.objects.all()}


class TestCode:
    def test_a_task_with_a_cron(self, declare, qstash):
        declare("report", cron="0 9 * * mon-fri", timezone="Europe/Berlin")
        assert "create 'report': it is new in the code" in sync_now()
        row = rows()["report"]
        assert row.is_from_code
        assert there(qstash)[row.schedule_id][1] == "CRON_TZ=Europe/Berlin 0 9 * * 1-5"
        assert sync_now() == "Nothing to do.\n"

    def test_several_triggers_with_input(self, declare, qstash):
        declare(
            "report",
            timezone="Asia/Tokyo",
            cron=[
                "@daily",
                CronTrigger("0 8 * * *", input={"kind": "short"}, id="short"),
                CronTrigger("0 9 * * mon", timezone="UTC", input=[1, 2]),
                CronTrigger("CRON_TZ=UTC 0 10 * * *", input="x"),
            ],
        )
        sync_now()
        assert {name: (row.zone, row.args, row.kwargs) for name, row in rows().items()} == {
            "report": ("Asia/Tokyo", [], {}),
            "report (short)": ("Asia/Tokyo", [], {"kind": "short"}),
            "report (2)": ("UTC", [1, 2], {}),
            "report (3)": ("UTC", ["x"], {}),
        }

    def test_code_that_changes_and_code_that_goes(self, declare, qstash):
        task = declare("report", cron="0 9 * * *")
        sync_now()
        TaskSchedule.objects.update(is_active=False)
        sync_now()
        tasks.unregister(task)
        declare("report", cron="0 10 * * *")
        assert "its cron changed in the code" in sync_now()
        row = rows()["report"]
        # Who has paused it here has had a reason.
        assert there(qstash)[row.schedule_id][:2] == (True, "0 10 * * *")

        tasks.unregister(tasks["report"])
        assert "is not in the code any more; --prune deletes it" in sync_now()
        assert row.schedule_id in there(qstash)
        assert "delete 'report': its code is gone" in sync_now("--prune")
        assert there(qstash) == {}
        assert rows() == {}

    def test_beat_schedule_of_the_settings(self, qstash, settings):
        settings.DJANGO_QSTASH_BEAT_SCHEDULE = {
            "first-monday": {
                "task": NOTE,
                "schedule": crontab(minute=0, hour=9, day_of_month="1-7", day_of_week="mon"),
                "args": ("x",),
                "options": {"expires": 3600, "queue": "mail"},
            },
            "often": {"task": NOTE, "schedule": 300.0, "kwargs": {"name": "y"}},
        }
        sync_now()
        monday, often = rows()["first-monday"], rows()["often"]
        assert (monday.cron, monday.only_on) == ("0 9 * * 1", "* * 1-7 * *")
        assert (monday.args, monday.options) == (["x"], {"expires": 3600, "queue": "mail"})
        assert (often.cron, often.kwargs) == ("*/5 * * * *", {"name": "y"})
        assert sync_now() == "Nothing to do.\n"

    def test_beat_schedule_and_periodic_tasks_of_a_celery_object(self, beat, qstash):
        from tests.shop.tasks import note

        beat.conf.beat_schedule = {
            "daily": {"task": NOTE, "schedule": crontab(0, 7), "args": ["a"]}
        }
        beat.add_periodic_task(3600, note.s("b"), name="hourly", expires=60)
        sync_now()
        assert rows()["daily"].zone == "Europe/Berlin"
        assert (rows()["hourly"].cron, rows()["hourly"].args) == ("0 * * * *", ["b"])
        assert rows()["hourly"].options == {"expires": 60}

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ({"task": NOTE, "schedule": 420}, "The nearest: 6 minutes and 10 minutes"),
            ({"task": "no.such.task", "schedule": 60}, "No task 'no.such.task'"),
            ({"task": NOTE}, "an entry needs 'task' and 'schedule'"),
            ({"task": NOTE, "schedule": 60, "arguments": []}, "not arguments"),
            ({"task": NOTE, "schedule": 60, "options": {"expire": 1}}, "does not know"),
            ({"task": NOTE, "schedule": "daily"}, "is no schedule"),
        ],
    )
    def test_an_entry_that_cannot_be_is_named_and_the_others_are_done(
        self, qstash, settings, entry, said
    ):
        good = {"task": NOTE, "schedule": 60, "args": ["x"]}
        settings.DJANGO_QSTASH_BEAT_SCHEDULE = {"bad": entry, "good": good}
        printed = sync_now(fails="1 schedule could not")
        assert "'bad' in the code: " in printed
        assert said in printed
        assert set(rows()) == {"good"}

    def test_celerys_own_settings_are_left_alone(self, qstash, settings):
        settings.CELERY_BEAT_SCHEDULE = {"theirs": {"task": NOTE, "schedule": 60}}
        assert sync_now() == "Nothing to do.\n"

    def test_a_name_that_a_row_has_already(self, qstash, settings):
        make(name="daily")
        settings.DJANGO_QSTASH_BEAT_SCHEDULE = {"daily": {"task": NOTE, "schedule": 86400}}
        sync_now()
        assert set(rows()) == {"daily", "daily (beat)"}

    def test_what_only_code_of_another_version_knows_is_left_to_prune(self, declare, qstash):
        declare("report", cron="0 9 * * *")
        sync_now()
        TaskSchedule.objects.all()._raw_delete("default")
        tasks.unregister(tasks["report"])
        assert "is not in the code any more" in sync_now()
        assert len(there(qstash)) == 1
        sync_now("--prune")
        assert there(qstash) == {}

    def test_two_deployments_at_once_make_one_row_and_one_schedule(self, declare, qstash):
        declare("report", cron="0 9 * * *")
        put("old", LEGACY)
        plans = [reconcile.make_plan() for _ in range(2)]
        assert [reconcile.apply(plan.steps) for plan in plans] == [(2, []), (2, [])]
        assert set(rows()) == {"report", "Take a note"}
        assert len(there(qstash)) == 2
        assert "report" not in sync_now()

    def test_a_row_of_that_name_that_came_meanwhile_is_no_such_thing(self, declare, qstash):
        declare("report", cron="0 9 * * *")
        plan = reconcile.make_plan()
        row = code.make(code.keys()["task:report"], "default")
        row.code_key, row.schedule_id = None, "djq_another"
        row.write()
        assert reconcile.apply(plan.steps)[0] == 1
        assert set(rows()) == {"report", "report (task)"}

    def test_two_deployments_make_one_schedule(self, declare, qstash):
        declare("report", cron="0 9 * * *")
        sync_now()
        TaskSchedule.objects.all()._raw_delete("default")
        sync_now()
        assert len(there(qstash)) == 1
