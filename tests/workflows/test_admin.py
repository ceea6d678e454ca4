"""Runs in the admin: seen whole, escaped, acted on by those who may, and by nobody else."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_qstash.workflows.admin import shown, timeline
from django_qstash.workflows.models import DeadLetterEntry, StepExecution, WorkflowRun
from tests.shop import workflows as w

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "admin:django_qstash_workflows_workflowrun"
EVENTS = "admin:django_qstash_workflows_workflowevent"
LETTERS = "admin:django_qstash_workflows_deadletterentry"


@pytest.fixture
def log_in(client):
    """Become somebody of the staff who may see runs, and whatever else is named."""

    def log_in(*permissions):
        user = User.objects.create_user("ada", is_staff=True)
        names = ["view_workflowrun", "view_deadletterentry", "view_workflowevent", *permissions]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client.force_login(user)
        return client

    return log_in


def page_of(client, run):
    return client.get(reverse(f"{RUNS}_change", args=[run.run.pk]))


def deed(run, name):
    return reverse(f"{RUNS}_deed", args=[run.run.pk, name])


def text_of(answer):
    text = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return " ".join(text.split())


class TestTheList:
    def test_it_filters_by_status_and_workflow_and_searches(self, loopback, log_in):
        done, waits = w.late.delay(), w.approval.delay()
        client = log_in()

        assert {done, waits} <= set(listed(client))
        assert listed(client, status__exact="waiting") == [waits]
        assert listed(client, workflow_id__exact="shop.late") == [done]
        assert listed(client, q=done) == [done]
        assert "signal:approved" in text_of(client.get(reverse(f"{RUNS}_changelist")))

    def test_its_queries_do_not_grow_with_the_runs(self, loopback, log_in):
        client = log_in()
        counts = []
        for _ in range(2):
            w.late.delay()
            w.late.delay()
            with CaptureQueriesContext(connection) as queries:
                client.get(reverse(f"{RUNS}_changelist"))
            counts.append(len(queries))
        assert counts[0] == counts[1]


def listed(client, where=RUNS, **query):
    page = client.get(reverse(f"{where}_changelist"), query).content.decode()
    return re.findall(r'class="qstash-id">([^<]+)<', page)


class TestAPage:
    def test_it_shows_input_steps_and_result(self, loopback, log_in):
        run = w.parent.delay()

        answer = page_of(log_in(), run)

        said = text_of(answer)
        child = WorkflowRun.objects.get(parent__run_id=run)
        assert f'href="{shown.address_of(child)}"' in answer.content.decode()
        assert "tests.shop.workflows.child , completed" in said
        assert "42" in said
        assert run in said

    def test_it_says_what_the_run_has_used(self, loopback, log_in):
        run = w.sleepy.delay(1)
        WorkflowRun.objects.update(bytes_sent=2048, compute_seconds=0.0125, database_seconds=0.004)
        client = log_in()

        said = text_of(page_of(client, run))
        for each in (
            "Messages: 2",
            "Sent: 2.0\xa0KB",
            "Estimated price: $0.00002",
            "Compute time: 12 ms",
            "Database time: 4 ms",
        ):
            assert " ".join(each.split()) in said, each
        WorkflowRun.objects.update(database_seconds=0)
        assert "Database time: -" in text_of(page_of(client, run))

    def test_what_users_say_is_escaped(self, loopback, log_in):
        evil = "<script>alert(1)</script>"
        runs = [w.plain.delay(evil), w.says.delay(evil)]
        client = log_in()

        for run in runs:
            page = page_of(client, run).content.decode()
            assert evil not in page
            assert "&lt;script&gt;alert(1)" in page

    def test_nothing_on_it_can_be_edited(self, loopback, log_in):
        run = w.late.delay()
        client = log_in("change_workflowrun", "delete_workflowrun")

        page = page_of(client, run).content.decode()
        client.post(shown.address_of(run.run), {"status": "failed", "result": "1"})
        client.post(reverse(f"{RUNS}_delete", args=[run.run.pk]), {"post": "yes"})

        shown_fields = page[page.index('id="workflowrun_form"') :]
        assert not re.search(r'<(textarea|select|input type="(?!hidden|submit))', shown_fields)
        assert (run.status, run.run.result) == ("completed", "late")

    def test_bars_are_written_alike_in_every_language(self, loopback, log_in, settings):
        """A decimal comma would be no number in SVG."""
        settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
        run = w.sleepy.delay(1)

        page = page_of(log_in(), run).content.decode()

        numbers = re.findall(r'<rect[^>]* x="([^"]+)" width="([^"]+)"', page)
        assert numbers
        assert all(re.fullmatch(r"\d+(\.\d+)?%", text) for pair in numbers for text in pair)

    def test_many_steps_come_page_by_page(self, loopback, log_in):
        run = w.many.delay(250)
        client = log_in()

        first = page_of(client, run)
        second = client.get(shown.address_of(run.run), {"steps": 2})

        assert first.content.count(b'<details class="qstash-step') == 200
        assert second.content.count(b'<details class="qstash-step') == 50
        assert "Steps 201 to 250 of 250" in text_of(second)

    def test_it_is_found_by_the_runs_id(self, loopback, log_in):
        run = w.late.trigger(run_id="order/7?")
        client = log_in()

        answer = client.get(reverse(f"{RUNS}_by_id", args=[run]))

        assert answer.url == shown.address_of(run.run)
        assert client.get(reverse(f"{RUNS}_by_id", args=["nobody"])).status_code == 404

    def test_a_stranger_sees_nothing(self, loopback, client):
        run = w.late.delay()
        user = User.objects.create_user("eve", is_staff=True)
        client.force_login(user)

        assert page_of(client, run).status_code == 403
        assert client.get(reverse(f"{RUNS}_changelist")).status_code == 403


class TestDeeds:
    def test_a_signal_is_sent_and_logged(self, loopback, log_in):
        run = w.approval.delay()
        client = log_in("signal_workflow")
        assert 'value="approved"' in client.get(deed(run, "signal")).content.decode()

        answer = client.post(
            deed(run, "signal"), {"name": "approved", "value": '{"by": "Ada"}'}, follow=True
        )

        assert run.result(1) == {"by": "Ada"}
        assert "Sent the signal “approved”." in text_of(answer)
        (entry,) = LogEntry.objects.all()
        assert (entry.user.username, entry.object_id) == ("ada", str(run.run.pk))
        assert entry.get_change_message() == "Sent the signal “approved”."

    def test_what_is_not_json_is_a_text(self, loopback, log_in):
        run = w.approval.delay()
        log_in("signal_workflow").post(deed(run, "signal"), {"name": "approved", "value": "yes!"})
        assert run.result(1) == "yes!"

    def test_a_name_that_cannot_be_is_refused_on_the_form(self, loopback, log_in):
        run = w.approval.delay()
        answer = log_in("signal_workflow").post(deed(run, "signal"), {"name": "a\x07b"})
        assert answer.status_code == 200
        assert run.status == "waiting"
        assert not LogEntry.objects.exists()

    def test_a_run_is_canceled_with_a_reason(self, loopback, log_in):
        run = w.approval.delay()
        client = log_in("cancel_workflow")

        client.post(deed(run, "cancel"), {"reason": "out of ink"})
        answer = client.post(deed(run, "cancel"), {"reason": "again"}, follow=True)

        assert (run.status, run.run.error_message) == ("canceled", "out of ink")
        assert "has ended already" in text_of(answer)
        assert LogEntry.objects.count() == 1

    @pytest.mark.parametrize("name", ["replay", "resume"])
    def test_a_failed_run_is_started_again_once(self, name, loopback, log_in):
        run = w.broken.delay()
        client = log_in("replay_workflow")

        client.post(deed(run, name))
        answer = client.post(deed(run, name), follow=True)

        assert WorkflowRun.objects.count() == 2
        assert "was started again already" in text_of(answer)
        assert LogEntry.objects.count() == 1

    @pytest.mark.parametrize("name", ["signal", "cancel", "replay", "resume"])
    def test_none_is_done_without_its_permission(self, name, loopback, log_in):
        runs = [w.approval.delay(), w.broken.delay()]
        client = log_in()

        for run in runs:
            answer = client.post(deed(run, name), {"name": "approved", "reason": "no"})
            assert answer.status_code == 403
            assert f'id="deed-{name}"' not in page_of(client, run).content.decode()
        assert [run.status for run in runs] == ["waiting", "failed"]
        assert WorkflowRun.objects.count() == 2

    def test_only_buttons_that_make_sense_are_offered(self, loopback, log_in):
        waits, failed = w.approval.delay(), w.broken.delay()
        client = log_in("signal_workflow", "cancel_workflow", "replay_workflow")

        def offered(run):
            return re.findall(r'id="deed-(\w+)"', page_of(client, run).content.decode())

        assert offered(waits) == ["signal", "cancel"]
        assert offered(failed) == ["resume", "replay"]
        assert offered(w.late.delay()) == []

    def test_by_get_nothing_is_done(self, loopback, log_in):
        run = w.approval.delay()
        client = log_in("cancel_workflow")
        assert client.get(deed(run, "cancel"), {"reason": "x"}).status_code == 200
        assert run.status == "waiting"
        assert client.get(deed(run, "nothing")).status_code == 404


class TestBulk:
    def test_several_are_canceled_after_one_question(self, loopback, log_in):
        runs = [w.approval.delay(), w.approval.delay()]
        done = w.late.delay()
        client = log_in("cancel_workflow")
        chosen = {"action": "cancel", "_selected_action": [run.run.pk for run in [*runs, done]]}
        where = reverse(f"{RUNS}_changelist")

        asked = client.post(where, chosen)
        assert [run.status for run in runs] == ["waiting", "waiting"]
        assert asked.content.decode().count('name="_selected_action"') == 3
        client.post(where, {**chosen, "apply": "1", "reason": "too many"})

        assert [run.status for run in runs] == ["canceled", "canceled"]
        assert done.status == "completed"
        assert LogEntry.objects.count() == 2

    def test_an_action_is_refused_without_its_permission(self, loopback, log_in):
        run = w.approval.delay()
        client = log_in()

        client.post(
            reverse(f"{RUNS}_changelist"),
            {"action": "cancel", "_selected_action": [run.run.pk], "apply": "1"},
        )

        assert run.status == "waiting"

    def test_none_that_fits_is_said(self, loopback, log_in):
        run = w.late.delay()
        answer = log_in("replay_workflow").post(
            reverse(f"{RUNS}_changelist"),
            {"action": "replay", "_selected_action": [run.run.pk]},
            follow=True,
        )
        assert "None of the selected runs is failed." in text_of(answer)


class TestStarting:
    def start(self, client, workflow, **fields):
        return client.post(f"{reverse(f'{RUNS}_add')}?workflow={workflow}", fields, follow=True)

    def test_every_workflow_can_be_chosen(self, log_in):
        said = text_of(log_in("start_workflow").get(reverse(f"{RUNS}_add")))
        assert "shop.plain" in said
        assert "tests.shop.workflows.add_up" in said

    def test_its_parameters_are_fields_of_their_kinds(self, loopback, log_in):
        client = log_in("start_workflow")
        page = client.get(f"{reverse(f'{RUNS}_add')}?workflow=shop.typed").content.decode()
        assert 'type="number" name="input-copies"' in page

        self.start(
            client,
            "shop.typed",
            **{"input-copies": "3", "input-name": "7", "input-express": "True"},
            **{"input-lines": "[1]", "input-more": '{"ink": "red"}'},
        )

        run = WorkflowRun.objects.get()
        assert run.data == {"copies": 3, "name": "7", "express": True, "lines": [1], "ink": "red"}
        assert LogEntry.objects.get().object_id == str(run.pk)

    def test_what_is_left_empty_has_its_default(self, loopback, log_in):
        self.start(log_in("start_workflow"), "tests.shop.workflows.add_up", **{"input-a": "1"})
        run = WorkflowRun.objects.get()
        assert (run.data, run.result) == ({"a": 1}, 2)

    def test_none_is_started_that_its_messages_would_carry(self, settings, outbox, log_in):
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = False

        page = self.start(log_in("start_workflow"), "shop.plain", value="1")

        assert "Starting a run in the admin needs runs that are kept" in text_of(page)
        assert outbox.sent == []

    def test_a_workflow_of_one_value_takes_json(self, loopback, log_in):
        self.start(log_in("start_workflow"), "shop.plain", value='{"a": [1, 2]}')
        assert WorkflowRun.objects.get().data == {"a": [1, 2]}

    def test_a_run_id_and_a_delay(self, outbox, log_in):
        self.start(log_in("start_workflow"), "shop.late", run_id="mine", delay="5m")
        assert WorkflowRun.objects.get().run_id == "mine"
        assert outbox.sent[0].options["delay"] in ("300s", "299s")

    @pytest.mark.parametrize(
        ("workflow", "fields", "said"),
        [
            ("tests.shop.workflows.add_up", {}, "This field is required"),
            ("tests.shop.workflows.validated", {"value": '{"amount": "x"}'}, "is refused"),
            ("shop.late", {"delay": "soon"}, "soon"),
            ("shop.typed", {"input-copies": "many", "input-name": "x"}, "Enter a whole number"),
        ],
    )
    def test_what_is_wrong_is_said_on_the_form(self, workflow, fields, said, loopback, log_in):
        answer = self.start(log_in("start_workflow"), workflow, **fields)
        assert said in text_of(answer)
        assert not WorkflowRun.objects.exists()

    def test_it_needs_its_permission(self, loopback, log_in):
        client = log_in("add_workflowrun")
        assert self.start(client, "shop.late").status_code == 403
        assert not WorkflowRun.objects.exists()

    def test_an_unknown_workflow_is_not_found(self, log_in):
        client = log_in("start_workflow")
        assert client.get(f"{reverse(f'{RUNS}_add')}?workflow=nothing").status_code == 404


class TestDeadLetters:
    def test_those_that_wait_are_shown_first(self, loopback, log_in):
        w.broken.delay()
        (dead,) = DeadLetterEntry.objects.all()
        client = log_in("replay_workflow")
        where = reverse(f"{LETTERS}_changelist")
        assert listed(client, LETTERS) == [dead.run_id]

        client.post(where, {"action": "resume_entries", "_selected_action": [dead.pk]})

        dead.refresh_from_db()
        assert dead.is_replayed
        assert listed(client, LETTERS) == [dead.replayed_as]
        assert listed(client, LETTERS, replayed="yes") == [dead.run_id]
        page = client.get(reverse(f"{LETTERS}_change", args=[dead.pk]))
        assert dead.replayed_as in text_of(page)
        assert LogEntry.objects.get().get_change_message() == f"Resumed as {dead.replayed_as}."

    def test_replaying_needs_its_permission(self, loopback, log_in):
        w.broken.delay()
        (dead,) = DeadLetterEntry.objects.all()

        log_in("change_deadletterentry").post(
            reverse(f"{LETTERS}_changelist"),
            {"action": "replay_entries", "_selected_action": [dead.pk]},
        )

        dead.refresh_from_db()
        assert not dead.is_replayed


def test_signals_and_events_are_listed(loopback, log_in):
    run = w.approval.delay()
    run.signal("approved", {"note": "<b>"})
    client = log_in()

    page = client.get(reverse(f"{EVENTS}_changelist"))
    assert "signal:approved" in text_of(page)
    event = run.run.events.get()
    page = client.get(
        reverse("admin:django_qstash_workflows_workflowevent_change", args=[event.pk])
    )
    assert "&lt;b&gt;" in page.content.decode()


class TestTheTimeline:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def at(self, seconds):
        return self.start + timedelta(seconds=seconds)

    def draw(self, *steps, end=100.0):
        run = WorkflowRun(
            created_at=self.start,
            started_at=self.start,
            completed_at=self.at(end),
            status="completed",
        )
        return timeline.draw(run, steps, {}, self.at(end))

    def step(self, begin, end, **fields):
        given = {"kind": "run", "status": "completed", "step_id": "a", "attempts": 1, **fields}
        return StepExecution(started_at=self.at(begin), executed_at=self.at(end), **given)

    def test_a_bar_stands_where_its_time_is(self):
        (bar,) = self.draw(self.step(25, 75)).bars
        assert (bar.left, bar.width, bar.took) == (25.0, 50.0, "50 s")

    def test_the_shortest_can_be_seen_and_none_stands_outside(self):
        bars = self.draw(self.step(0, 0), self.step(100, 100)).bars
        assert all(bar.width == timeline.THINNEST for bar in bars)
        assert all(bar.left >= 0 and bar.left + bar.width <= 100 for bar in bars)

    def test_attempts_that_failed_are_shown_before_the_last_one(self):
        first, second = self.draw(self.step(0, 10), self.step(60, 70, attempts=3)).bars
        assert (second.lead_left, second.lead_width) == (10.0, 50.0)
        assert first.lead_width == 0

    def test_a_branch_that_nobody_has_begun_has_no_bar(self):
        pending = StepExecution(kind="branch", status="pending", step_id="a", fan=1)
        (bar,) = self.draw(pending).bars
        assert (bar.left, bar.took) == (None, "-")

    @pytest.mark.parametrize("seconds", [0.004, 0.3, 1, 7, 59, 61, 3600, 86400, 1e6, 1e9])
    def test_ticks_are_few_and_round(self, seconds):
        ticks = self.draw(self.step(0, seconds), end=seconds).ticks
        assert len(ticks) <= 3 * timeline.MOST_TICKS
        assert all(0 < tick.left <= 97 for tick in ticks)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 ms"),
            (0.0123, "12 ms"),
            (2, "2 s"),
            (4.21, "4.2 s"),
            (59.7, "60 s"),
            (185, "3 min 5 s"),
            (3600, "1 h"),
            (7205, "2 h"),
            (187200, "2 d 4 h"),
            (None, "-"),
        ],
    )
    def test_durations_in_words(self, seconds, text):
        assert shown.span(seconds) == text


def test_a_wait_is_as_long_as_it_lasted(loopback):
    run = w.sleepy.delay(1)
    (nap,) = [step for step in run.steps() if step.step_id == "nap"]
    assert 0.9 <= nap.duration < 30
