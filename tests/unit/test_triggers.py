"""``cron=`` on tasks and workflows."""

from __future__ import annotations

import pytest

from django_qstash import shared_task
from django_qstash.exceptions import CronError, OptionError
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.triggers import CronTrigger, triggers
from django_qstash.workflows.decorate import workflow


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"cron": "0 25 * * *"}, CronError, "character 3: cron of report: the hour is 0 to 23"),
        ({"cron": ["@daily", "x"]}, CronError, "cron of report: it ends before"),
        ({"cron": 300}, OptionError, "report: cron=300: write an expression"),
        ({"cron": "@daily", "timezone": "Mars"}, CronError, "not a time zone"),
        ({"timezone": "Europe/Berlin"}, OptionError, "without cron="),
        (
            {"cron": [CronTrigger("@daily", id="a"), CronTrigger("@weekly", id="a")]},
            OptionError,
            "have one id",
        ),
    ],
)
@pytest.mark.parametrize("decorator", [shared_task, workflow])
def test_a_mistake_is_found_where_it_is_written(decorator, options, error, words):
    with pytest.raises(error, match=words):

        @decorator(name="report", **options)
        def report(ctx=None):
            """Never registered."""

    assert "report" not in tasks


def test_an_id_may_not_be_the_place_of_another_trigger():
    with pytest.raises(OptionError, match="one id, '1'"):
        triggers([CronTrigger("0 9 * * *", id="1"), "0 10 * * *"])


def test_a_trigger_has_its_own_overlap_or_that_of_all():
    both = ["@daily", CronTrigger("@hourly", overlap="queue")]
    assert [each.overlap for each in triggers(both, overlap="skip")] == ["skip", "queue"]
    assert [each.overlap for each in triggers(both)] == [None, "queue"]


def test_a_trigger_checks_itself():
    with pytest.raises(OptionError, match="overlap='wait': it is one of allow, skip, queue"):
        CronTrigger("@daily", overlap="wait")
    with pytest.raises(CronError, match="the minute is 0 to 59"):
        CronTrigger("99 * * * *")


def test_a_workflow_may_name_its_zone_by_either_name_and_not_by_both():
    @workflow("zoned", cron="0 9 * * *", cron_timezone="Asia/Tokyo")
    def zoned(ctx):
        """Runs at nine."""

    try:
        assert triggers(zoned.cron, zoned.timezone) == [CronTrigger("0 9 * * *", "Asia/Tokyo")]
    finally:
        tasks.unregister(zoned)
    with pytest.raises(TypeError, match="one thing"):
        workflow("twice", cron="@daily", cron_timezone="UTC", timezone="UTC")(lambda ctx: None)


def test_a_workflows_input_is_one_value():
    assert CronTrigger("@daily", input={"a": 1}).arguments(single=True) == ([{"a": 1}], {})
    assert CronTrigger("@daily", input={"a": 1}).arguments() == ([], {"a": 1})
    assert CronTrigger("@daily").arguments(single=True) == ([], {})
    by_name = CronTrigger("@daily", input={"a": 1}).arguments(single=True, named=True)
    assert by_name == ([], {"a": 1})
    assert CronTrigger("@daily", input=[1]).arguments(single=True, named=True) == ([[1]], {})
