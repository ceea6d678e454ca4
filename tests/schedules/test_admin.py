"""The admin: who may do what, and what is said."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from django_qstash.schedules.models import TaskSchedule
from tests.schedules.test_models import NOTE, make

pytestmark = pytest.mark.django_db
ROOT = "/admin/django_qstash_schedules/taskschedule"


@pytest.fixture(autouse=True)
def urls(settings):
    settings.ROOT_URLCONF = "tests.schedules.urls"


@pytest.fixture
def staff(client):
    """Signs a member of the staff in who has these permissions and no others."""

    def sign_in(*permissions):
        user = get_user_model().objects.create_user("staff", is_staff=True)
        names = [f"{permission}_taskschedule" for permission in permissions]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client.force_login(user)
        return client

    return sign_in


def fields(**changes):
    empty = dict.fromkeys(
        ("timezone", "queue", "label", "retries", "timeout", "retry_delay", "delay", "headers"), ""
    )
    values = {
        **empty,
        "name": "nightly",
        "task_name": NOTE,
        "args": '["x"]',
        "kwargs": "",
        "cron": "0 3 * * *",
        "overlap": "allow",
        "is_active": "on",
    }
    return {**values, **changes}


class TestForm:
    def test_a_job_is_added_with_what_was_left_empty_at_its_default(self, admin_client, outbox):
        response = admin_client.post(f"{ROOT}/add/", fields())
        assert response.status_code == 302, response.context["adminform"].form.errors
        row = TaskSchedule.objects.get()
        assert (row.args, row.kwargs, row.headers, row.flow_control) == (["x"], {}, {}, {})

    @pytest.mark.parametrize(
        ("changes", "field", "said"),
        [
            ({"args": "[1, 2]"}, "args", "too many positional arguments"),
            ({"kwargs": '{"nam": 1}', "args": ""}, "args", "missing a required argument"),
            ({"args": "[1"}, "args", "This is not JSON"),
            ({"args": "{}", "kwargs": ""}, "args", "args must be a list"),
            ({"kwargs": "[1]"}, "kwargs", "kwargs must be an object"),
            ({"cron": "<script>alert(1)</script>"}, "cron", "it ends before the hour"),
            ({"task_name": "tests.shop.tasks.gone"}, "task_name", "No task"),
            ({"task_name": ""}, "task_name", "required"),
            ({"timeout": "soon"}, "timeout", "must be a duration"),
            ({"flow_control": '{"rate": 1}'}, "flow_control", "must be a mapping with"),
            ({"timezone": "Mars"}, "timezone", "not a time zone"),
        ],
    )
    def test_what_cannot_be_is_said_beside_its_field(self, admin_client, changes, field, said):
        response = admin_client.post(f"{ROOT}/add/", fields(**changes))
        errors = response.context["adminform"].form.errors
        assert said in " ".join(errors[field])
        assert b"<script>alert" not in response.content
        assert not TaskSchedule.objects.exists()

    def test_a_zone_in_the_expression_needs_none_beside_it(self, admin_client, outbox):
        posted = fields(cron="CRON_TZ=Asia/Tokyo 0 9 * * *", timezone="Europe/Berlin")
        admin_client.post(f"{ROOT}/add/", posted)
        assert TaskSchedule.objects.get().zone == "Asia/Tokyo"

    @pytest.mark.parametrize(
        ("fields", "column", "words"),
        [
            ({"cron": ""}, "cron", "This field is required."),
            ({"task_name": ""}, "task_name", "This field is required."),
            ({"args": "Berlin"}, "args", "Texts and names stand in double quotes"),
            ({"kwargs": "{days: 3}"}, "kwargs", "Texts and names stand in double quotes"),
        ],
    )
    def test_each_mistake_is_said_once_and_in_plain_words(
        self, admin_client, outbox, fields, column, words
    ):
        values = {"name": "n", "task_name": NOTE, "args": '["x"]', "cron": "0 9 * * *"}
        values |= {"timezone": "", "overlap": "allow", **fields}
        response = admin_client.post(f"{ROOT}/add/", values)
        errors = response.context["adminform"].form.errors
        assert list(errors) == [column]
        (said,) = errors[column]
        assert words in said

    def test_code_owns_its_rows(self, admin_client, outbox):
        row = make()
        TaskSchedule.objects.update(code_key="beat:nightly")
        page = admin_client.get(f"{ROOT}/{row.pk}/change/").content.decode()
        assert "The code (nightly)." in page
        changes = {"name": "other", "cron": "* * * * *", "overlap": "skip"}
        admin_client.post(f"{ROOT}/{row.pk}/change/", changes)
        row.refresh_from_db()
        assert (row.name, row.cron, row.is_active) == ("nightly", "0 3 * * *", False)
        # Code says nothing of what runs do that overlap.
        assert row.overlap == "skip"

    def test_a_task_that_is_gone_is_still_shown(self, admin_client, outbox):
        row = make()
        TaskSchedule.objects.update(task_name="tests.shop.tasks.gone")
        page = admin_client.get(f"{ROOT}/{row.pk}/change/").content.decode()
        assert "tests.shop.tasks.gone (not in the code any more)" in page
        assert "Task is gone" in page


class TestPermissions:
    def test_who_may_look_may_not_act(self, staff, outbox):
        row = make()
        client = staff("view")
        assert client.get(f"{ROOT}/{row.pk}/change/").status_code == 200
        assert client.get(f"{ROOT}/preview/", {"cron": "@daily"}).status_code == 200
        assert client.post(f"{ROOT}/{row.pk}/run/").status_code == 403
        assert "Run now" not in client.get(f"{ROOT}/{row.pk}/change/").content.decode()
        posted = {"action": "pause", "_selected_action": row.pk}
        client.post(f"{ROOT}/", posted)
        row.refresh_from_db()
        assert row.is_active
        assert client.get(f"{ROOT}/add/").status_code == 403

    def test_who_may_nothing_sees_nothing(self, staff, outbox):
        row = make()
        client = staff()
        assert client.get(f"{ROOT}/preview/", {"cron": "@daily"}).status_code == 403
        assert client.post(f"{ROOT}/{row.pk}/run/").status_code == 403
        assert client.get(f"{ROOT}/").status_code == 403

    def test_running_takes_a_post(self, admin_client, outbox):
        row = make()
        assert admin_client.get(f"{ROOT}/{row.pk}/run/").status_code == 302
        assert outbox.sent == []
        assert admin_client.post(f"{ROOT}/{row.pk}/run/").status_code == 302
        (envelope,) = outbox.sent
        assert json.loads(envelope.body)["schedule"] == "nightly"
        row.refresh_from_db()
        assert row.last_task_id == json.loads(envelope.body)["id"]

    def test_a_stranger_is_sent_to_the_login(self, client):
        assert client.get(f"{ROOT}/preview/").status_code == 302


class TestActions:
    def act(self, client, action):
        posted = {
            "action": action,
            "_selected_action": list(TaskSchedule.objects.values_list("pk", flat=True)),
        }
        response = client.post(f"{ROOT}/", posted, follow=True)
        return [str(message) for message in response.context["messages"]]

    def test_what_went_well_and_what_did_not(self, admin_client, outbox):
        make(name="a")
        make(name="gone")
        TaskSchedule.objects.filter(name="gone").update(task_name="tests.shop.tasks.gone")
        said = self.act(admin_client, "run_now")
        assert said[0].startswith("gone: No task")
        assert said[1] == "1 task was sent."
        assert self.act(admin_client, "pause") == ["2 schedules are done."]
        assert not TaskSchedule.objects.filter(is_active=True).exists()
        said = self.act(admin_client, "send")
        assert said[0] == "1 schedule is done."
        assert said[1].startswith("gone: No task")


class TestPreview:
    def ask(self, client, **query):
        return json.loads(client.get(f"{ROOT}/preview/", query).content)

    def test_words_and_runs_in_both_zones(self, admin_client, virtual):
        answer = self.ask(admin_client, cron="30 2 * * *", timezone="Europe/Berlin")
        assert answer["words"] == "At 02:30 every day (Europe/Berlin)"
        assert answer["runs"][0] == {
            "at": "2026-10-10T00:30:00+00:00",
            "shown": "Sat 10 Oct 2026, 02:30",
        }
        assert len(answer["runs"]) == 5

    def test_runs_are_right_across_a_change_of_the_clock(self, admin_client, virtual):
        virtual.advance(14 * 86400)
        answer = self.ask(admin_client, cron="30 2 * * *", timezone="Europe/Berlin")
        assert [run["at"][:16] for run in answer["runs"][:4]] == [
            "2026-10-24T00:30",
            "2026-10-25T00:30",
            "2026-10-25T01:30",
            "2026-10-26T01:30",
        ]

    def test_a_mistake_and_its_place(self, admin_client):
        assert self.ask(admin_client, cron="0 25 * * *") == {
            "error": "the hour is 0 to 23, not 25",
            "position": 2,
        }
        assert self.ask(admin_client, cron="@daily", timezone="Mars")["position"] is None


@pytest.mark.django_db(transaction=True)
def test_who_saves_is_told_what_qstash_was_not(admin_client, settings):
    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
    settings.QSTASH_URL = "http://127.0.0.1:1"
    response = admin_client.post(f"{ROOT}/add/", fields(), follow=True)
    saved, warning = response.context["messages"]
    assert "was added successfully" in str(saved)
    assert warning.level_tag == "warning"
    assert "is kept here, but QStash does not know it as it is" in str(warning)
    assert "cannot be reached" in str(warning)


@pytest.mark.django_db(transaction=True)
def test_who_saves_is_told_no_more_if_all_went_well(admin_client, kept):
    response = admin_client.post(f"{ROOT}/add/", fields(), follow=True)
    (saved,) = response.context["messages"]
    assert "was added successfully" in str(saved)
    assert TaskSchedule.objects.get().synced_at is not None
