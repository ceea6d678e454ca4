"""The management commands, and ``discover_tasks``."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_qstash import clock, conf
from django_qstash.discovery.utils import discover_tasks
from django_qstash.results.models import PastRun, Phase, TaskResult
from django_qstash.results.tasks import clear_stale_results_task


def run(*args, **kwargs) -> str:
    out = StringIO()
    call_command(*args, stdout=out, **kwargs)
    return out.getvalue()


class TestAvailableTasks:
    def test_names_and_what_they_do(self):
        assert "tests.shop.tasks.add" in run("available_tasks")
        assert "Add two numbers." in run("available_tasks")

    def test_workflows_stand_among_them(self):
        lines = [line.split() for line in run("available_tasks").splitlines()]

        assert ["tests.shop.workflows.add_up"] in lines
        assert ["shop.plain", "(tests.shop.workflows.plain)"] in lines
        assert "django_qstash.workflows.arrived" not in [words[0] for words in lines]

    def test_locations_alone(self):
        lines = run("available_tasks", "--locations").splitlines()
        assert "tests.shop.tasks.add" in lines
        assert "django_qstash.results.tasks.clear_stale_results_task" in lines
        assert all(" " not in line for line in lines)


class TestDiscoverTasks:
    @pytest.mark.parametrize("option", ["paths_only", "locations_only"])
    def test_paths_are_strings_built_in_tasks_included(self, option):
        paths = discover_tasks(**{option: True})
        assert "tests.shop.tasks.add" in paths
        assert "django_qstash.results.tasks.clear_stale_results_task" in paths
        assert all(isinstance(path, str) for path in paths)

    def test_otherwise_name_location_and_label(self):
        (add,) = [task for task in discover_tasks() if task["name"] == "tests.shop.tasks.add"]
        assert add["location"] == add["field_label"] == "tests.shop.tasks.add"


class TestQStashSettings:
    def test_every_setting_is_printed_and_no_secret(self, settings):
        settings.QSTASH_TOKEN = "eyJabcdefghijklmnopqrstuvwxyz"
        settings.DJANGO_QSTASH_ACCOUNTS = {"eu": {"token": "s3cret"}}

        printed = run("qstash_settings")

        for row in conf.table():
            assert row.name in printed
        assert settings.QSTASH_TOKEN not in printed
        assert settings.QSTASH_CURRENT_SIGNING_KEY not in printed
        assert "s3cret" not in printed
        assert "https://shop.example.com/qstash/webhook/" in printed

    def test_a_wrong_value_is_shown_as_wrong(self, settings):
        settings.DJANGO_QSTASH_LEASE = "long"
        assert "INVALID: DJANGO_QSTASH_LEASE must be" in run("qstash_settings")

    def test_it_says_where_a_value_comes_from(self, settings, monkeypatch):
        monkeypatch.setenv("DJANGO_QSTASH_LEASE", "30")
        (line,) = [
            line for line in run("qstash_settings").splitlines() if "DJANGO_QSTASH_LEASE " in line
        ]
        assert line.split() == ["DJANGO_QSTASH_LEASE", "30", "environment"]


@pytest.mark.django_db
class TestClearStaleResults:
    def row(self, age, phase=Phase.DONE, status="SUCCESS", **fields):
        moment = clock.now() - timedelta(seconds=age)
        return TaskResult.rows.create(
            task_id=f"{status}-{age}-{TaskResult.rows.count()}",
            run=f"run-{TaskResult.rows.count()}",
            phase=phase,
            status=status,
            date_created=moment,
            date_done=moment if phase == Phase.DONE else None,
            result="secret",
            **fields,
        )

    def test_finished_ones_older_than_the_ttl_go(self, settings):
        settings.DJANGO_QSTASH_RESULT_TTL = 100
        kept = [self.row(99), self.row(1000, Phase.OPEN, "STARTED"), self.row(1000, 1, "RETRY")]
        self.row(101)
        self.row(101, status="FAILURE")

        assert "2 results removed" in run("clear_stale_results", "--no-input")
        assert set(TaskResult.objects.all()) == set(kept)

    def test_since_is_counted_from_when_they_were_done(self):
        self.row(50)
        self.row(10)
        run("clear_stale_results", "--since", "30", "--no-input")
        assert TaskResult.objects.count() == 1

    def test_since_zero_removes_all_that_are_finished(self):
        self.row(0)
        run("clear_stale_results", "--since", "0", "--no-input")
        assert not TaskResult.objects.exists()

    def test_the_memory_of_them_stays_as_long_as_a_duplicate_may_come(self, settings):
        settings.DJANGO_QSTASH_DELIVERY_TTL = 1000
        self.row(500)
        self.row(1001)

        run("clear_stale_results", "--since", "100", "--no-input")

        (row,) = TaskResult.rows.all()
        assert (row.cleared, row.result) == (True, None)

    def test_past_runs_are_forgotten_after_the_same_time(self, settings):
        settings.DJANGO_QSTASH_DELIVERY_TTL = 1000
        for age in (999, 1001):
            PastRun.objects.create(
                run=str(age),
                task_id="a",
                status="SUCCESS",
                date_created=clock.now() - timedelta(seconds=age),
            )
        run("clear_stale_results", "--since", "0", "--no-input")
        assert [past.run for past in PastRun.objects.all()] == ["999"]

    def test_works_in_batches(self, monkeypatch, django_assert_max_num_queries):
        from django_qstash.results import cleanup

        monkeypatch.setattr(cleanup, "BATCH", 3)
        for _ in range(8):
            self.row(100)
        assert cleanup.clear(10) == 8

    @pytest.mark.parametrize(("typed", "left"), [("y", 0), ("n", 1), ("", 1)])
    def test_asks_first(self, monkeypatch, typed, left):
        self.row(100)
        monkeypatch.setattr("builtins.input", lambda _: typed)
        run("clear_stale_results", "--since", "10")
        assert TaskResult.objects.count() == left

    def test_a_negative_age_is_refused(self):
        with pytest.raises(CommandError, match="zero or more"):
            run("clear_stale_results", "--since", "-1", "--no-input")

    def test_without_the_results_app_it_says_so(self, settings):
        settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if "results" not in a]
        with pytest.raises(CommandError, match="INSTALLED_APPS"):
            call_command_class().handle(since=None, interactive=False)

    def test_as_a_task(self, loopback):
        self.row(100)
        result = clear_stale_results_task.delay(since=50)
        assert result.get(timeout=1) == 1


def call_command_class():
    from django_qstash.management.commands.clear_stale_results import Command

    return Command()
