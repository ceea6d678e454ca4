"""The results in Django's admin: what a person sees of them, and that nobody can edit them."""

from __future__ import annotations

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.urls import include, path, reverse

from django_qstash.results.admin import TaskResultAdmin
from django_qstash.results.models import TaskResult
from tests.shop import tasks

# A site with nothing but the results: others come and go with the apps that tests install.
site = AdminSite()
site.register(TaskResult, TaskResultAdmin)
urlpatterns = [
    path("admin/", site.urls),
    path("qstash/webhook/", include("django_qstash.urls")),
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]
LIST = "admin:django_qstash_results_taskresult_changelist"


@pytest.fixture
def browser(client):
    client.force_login(User.objects.create_superuser("ada"))
    return client


@pytest.fixture
def rows(loopback):
    """One task that succeeded, one that failed."""
    good, bad = tasks.add.delay(2, 3), tasks.fail.delay("out <of> paper")
    return TaskResult.objects.get(task_id=good.id), TaskResult.objects.get(task_id=bad.id)


def test_the_list_shows_what_became_of_each_task(browser, rows):
    page = browser.get(reverse(LIST)).content.decode()
    for row in rows:
        assert row.task_id in page
        assert row.task_name in page
        assert row.status in page
        assert f"{row.date_created:%Y-%m-%d %H:%M:%S}" in page
    assert "ValueError: out &lt;of&gt; paper" in page


def test_a_long_result_is_cut_in_the_list_and_whole_on_its_page(browser, loopback):
    row = TaskResult.objects.get(task_id=tasks.add.delay("ab" * 500, "c").id)
    assert "ab" * 500 not in browser.get(reverse(LIST)).content.decode()
    one = reverse("admin:django_qstash_results_taskresult_change", args=[row.pk])
    assert "ab" * 500 in browser.get(one).content.decode()


def test_search_and_filters(browser, rows):
    good, bad = rows

    def found(**query):
        page = browser.get(reverse(LIST), query).content.decode()
        return [row for row in rows if row.task_id in page]

    assert found(q=good.task_id) == [good]
    assert found(q="paper") == [bad]
    assert found(status="FAILURE") == [bad]
    assert found(status="SUCCESS") == [good]


def test_nothing_can_be_added_changed_or_deleted(browser, rows):
    one = rows[0]
    change = reverse("admin:django_qstash_results_taskresult_change", args=[one.pk])
    assert b"_save" not in browser.get(change).content
    assert browser.post(change, {"status": "PENDING"}).status_code == 403
    assert browser.get(reverse("admin:django_qstash_results_taskresult_add")).status_code == 403
    delete = reverse("admin:django_qstash_results_taskresult_delete", args=[one.pk])
    assert browser.post(delete, {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [one.pk], "post": "yes"}
    browser.post(reverse(LIST), action)
    assert TaskResult.objects.get(pk=one.pk).status == one.status
