"""A site that ran django-qstash 0.x: its database, its settings, its decorators."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest
from django.core.checks import run_checks

from django_qstash import OptionError, stashed_task

ROOT = Path(__file__).parents[2]
#: The migrations that such a site has applied, under labels that are still ours.
APPLIED = {
    "django_qstash_results": [
        "0001_initial",
        "0002_taskresult_function_path_alter_taskresult_status_and_more",
        "0003_alter_taskresult_status",
    ],
    "django_qstash_schedules": [
        "0001_initial",
        "0002_taskschedule_updated_at",
        "0003_alter_taskschedule_cron",
        "0004_taskschedule_qstash_delivery_options",
    ],
}


@pytest.mark.parametrize("label", APPLIED)
def test_no_migration_has_the_name_of_one_that_was_applied(label):
    """Django would take it for done, and its table would never be made."""
    package = import_module(f"django_qstash.{label.removeprefix('django_qstash_')}")
    folder = Path(package.__file__).parent / "migrations"

    ours = {path.stem for path in folder.glob("0*.py")}

    assert ours & set(APPLIED[label]) == set()


def test_its_database_is_migrated_and_serves(tmp_path):
    database = tmp_path / "old.sqlite3"
    with sqlite3.connect(database) as old:
        old.execute(
            "CREATE TABLE django_migrations (id integer PRIMARY KEY AUTOINCREMENT, "
            "app varchar(255), name varchar(255), applied datetime)"
        )
        old.execute("CREATE TABLE django_qstash_results_taskresult (id char(32), task_id text)")
        old.execute("INSERT INTO django_qstash_results_taskresult VALUES ('1', 'old')")
        for app, names in APPLIED.items():
            for name in names:
                old.execute(
                    "INSERT INTO django_migrations (app, name, applied) VALUES (?, ?, ?)",
                    (app, name, "2026-01-01"),
                )
    old.close()
    code = """
        import django
        django.setup()
        from django.core.management import call_command
        call_command("migrate", verbosity=0)
        from tests.door import knock, letter
        from django_qstash import AsyncResult
        assert knock(letter("tests.shop.tasks.add", 2, 3, id="new")).status_code == 200
        print(AsyncResult("new").get())
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=os.environ
        | {"DATABASE_URL": f"sqlite:///{database}", "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.strip() == "5", done.stderr
    with sqlite3.connect(database) as old:
        assert old.execute("SELECT task_id FROM django_qstash_results_taskresult").fetchall() == [
            ("old",)
        ]
    old.close()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("DJANGO_QSTASH_DEDUP_SUCCESSFUL", "always so"),
        ("DJANGO_QSTASH_EMIT_SIGNALS", "django_qstash.signals"),
        ("DJANGO_QSTASH_RESULT_POLL_INTERVAL", "get(interval=…)"),
    ],
)
def test_a_setting_that_is_gone_is_named_with_what_is_in_its_place(settings, name, hint):
    setattr(settings, name, True)

    (warning,) = [
        each for each in run_checks(tags=["django_qstash"]) if each.id == "django_qstash.W004"
    ]
    assert warning.msg == f"{name} is a setting of django-qstash 0.x and has no effect."
    assert hint in warning.hint


def test_its_word_for_deduplication_names_qstashs():
    with pytest.raises(OptionError, match="write content_based_deduplication=True"):
        stashed_task(deduplicated=True, name="old")(lambda: None)
