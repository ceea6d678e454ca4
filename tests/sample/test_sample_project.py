"""The sample project is a Django site like any other: its own tests, checks and migrations."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.sample.demo import ROOT, SAMPLE, environment


def manage(*arguments, folder=SAMPLE, **variables):
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def copy(tmp_path):
    """The sample project out of reach of this checkout's ``.env``, with a database of its own."""
    folder = tmp_path / "sample_project"
    ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3", ".env", ".mail")
    shutil.copytree(SAMPLE, folder, ignore=ignored)
    return folder


def test_its_own_tests_pass(copy):
    done = manage("test", folder=copy)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nOK\n" in done.stderr


def test_its_checks_find_nothing(copy):
    done = manage("check", "--fail-level", "INFO", folder=copy)

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_migration_is_missing(copy):
    done = manage("makemigrations", "--check", "--dry-run", folder=copy)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sample_environment_works_as_it_is(copy):
    shutil.copy(ROOT / ".env.sample", copy.parent / ".env")

    done = manage("check", "--fail-level", "INFO", folder=copy)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_may_stand_in_the_env_file(copy):
    """A commented line of .env.sample takes effect when the comment sign goes."""
    sample = (ROOT / ".env.sample").read_text(encoding="utf-8")
    _, _, settings = sample.partition("every setting, with its default ---\n")
    lines = [line[2:] for line in settings.splitlines() if line.startswith("# ") and "=" in line]
    named = [line for line in lines if line.partition("=")[0].isupper()]
    given = {line.partition("=")[0]: line.partition("=")[2] for line in named}
    given |= {"QSTASH_TOKEN": "token-of-the-env-file", "DJANGO_QSTASH_LEASE": "77"}
    text = "".join(f"{name}={value}\n" for name, value in given.items())
    (copy / ".env").write_text(text, encoding="utf-8")

    done = manage("qstash_settings", folder=copy)

    assert done.returncode == 0, done.stdout + done.stderr
    printed = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert printed["DJANGO_QSTASH_LEASE"] == ["77", "settings"]
    assert printed["QSTASH_TOKEN"][0].startswith("toke")
    wrong = [name for name, value in given.items() if value and printed[name][-1] != "settings"]
    assert wrong == []


def test_a_setting_that_cannot_be_read_is_named(copy):
    (copy / ".env").write_text("DJANGO_QSTASH_LEASE=a while\n")

    # Not "check", whose first check may be one that asks for models before it asks for settings.
    done = manage("qstash_settings", folder=copy)

    assert done.returncode != 0
    assert "ImproperlyConfigured: DJANGO_QSTASH_LEASE in .env or the environment" in done.stderr


def test_a_local_qstash_is_one_line_in_the_env_file(copy):
    (copy / ".env").write_text(
        "USE_LOCAL_QSTASH=True\n"
        "DJANGO_QSTASH_DOMAIN=http://host.docker.internal:8000\n"
        "DJANGO_QSTASH_FORCE_HTTPS=False\n"
    )

    done = manage("qstash_settings", folder=copy)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "'http://127.0.0.1:8585'" in done.stdout
    assert "Webhook address: http://host.docker.internal:8000/qstash/webhook/" in done.stdout


def test_without_debug_a_secret_key_has_to_be_given(copy):
    done = manage("qstash_settings", folder=copy, DJANGO_DEBUG="False")

    assert done.returncode != 0
    assert "set DJANGO_SECRET_KEY" in done.stderr
