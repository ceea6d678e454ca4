"""The pytest plugin, in a project of its own: its fixtures, and Celery's by Celery's names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

OWN = """
import pytest
from tests.shop.tasks import add
from tests.shop.workflows import approval


@pytest.mark.django_db
def test_the_sandbox(qstash):
    result = add.delay(2, 3)
    qstash.assert_sent(add, 2, 3)
    qstash.deliver_all()
    assert result.get(timeout=0) == 5


def test_it_needs_no_database_to_see_what_is_sent(qstash):
    add.delay(2, 3)
    assert len(qstash.sent) == 1


def test_a_workflow(workflow_env):
    run = workflow_env.start(approval)
    workflow_env.signal(run, "approved", "yes")
    assert run.result(timeout=0) == "yes"


@pytest.mark.django_db(transaction=True)
def test_a_workflow_with_transactions(workflow_env):
    run = workflow_env.start(approval, {"timeout": "2d"}, step_overrides={"ask": None})
    workflow_env.advance("2d")
    assert run.result(timeout=0) == "nobody"
"""

CELERY = """
import pytest
from django_qstash import current_app, shared_task
from django_qstash.celery import current_app as also_current
from tests.shop.tasks import add


@pytest.fixture(scope="session")
def celery_config():
    return {"timezone": "Europe/Paris", "task_default_queue": "tests"}


@pytest.fixture(scope="session")
def celery_parameters():
    return {"strict_typing": False}


@pytest.fixture(scope="session")
def celery_includes():
    return ["included"]


def test_an_application(celery_app):
    assert current_app == celery_app == also_current
    assert celery_app.main == "celery.tests"
    assert str(celery_app.timezone) == "Europe/Paris"
    assert celery_app.strict_typing is False


@pytest.mark.celery(timezone="Asia/Tokyo")
def test_its_settings_by_a_mark(celery_app):
    assert str(celery_app.timezone) == "Asia/Tokyo"
    assert celery_app.conf.task_default_queue == "tests"


def test_a_task_of_the_test_runs(celery_app, celery_worker):
    @celery_app.task
    def mul(x, y):
        return x * y

    celery_worker.reload()
    assert mul.delay(4, 4).get(timeout=10) == 16
    assert mul.app is celery_app


def test_it_has_run_when_delay_returns(celery_worker):
    assert add.delay(4, 4).state == "SUCCESS"
    assert [each.status for each in celery_worker.qstash.deliveries] == [200]


def test_what_celery_includes_names_is_imported(celery_worker):
    assert "included.there" in celery_worker.app.tasks


def test_without_a_worker_nothing_runs(celery_app, db):
    assert add.delay(4, 4).state == "PENDING"


@pytest.mark.django_db
def test_for_a_session(celery_session_app, celery_session_worker):
    assert add.delay(4, 4).get(timeout=10) == 8
"""

TRAPPED = """
import pytest
from django_qstash import current_app


@pytest.fixture(scope="session")
def use_celery_app_trap():
    return True


def test_the_trap(celery_app):
    with pytest.raises(RuntimeError, match="Test depends on current_app"):
        current_app.conf


def test_but_where_it_is_meant(celery_app, depends_on_current_app):
    assert current_app == celery_app
"""


def run(folder, *options, **files):
    """pytest in a folder of its own; its report."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": "sqlite://:memory:",
        "PYTHONPATH": os.pathsep.join(["src", str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


THEIRS = """
import pytest


@pytest.fixture
def celery_app():
    return "theirs"
"""
PLUGIN = ("-p", "django_qstash.pytest_plugin")


def test_a_project_uses_the_fixtures(tmp_path):
    code, report = run(
        tmp_path,
        *PLUGIN,
        "--strict-markers",
        test_own=OWN,
        test_celery=CELERY,
        included='from django_qstash import shared_task\n\n\n@shared_task(name="included.there")\n'
        "def there():\n    pass\n",
    )

    assert code == 0, report
    assert "11 passed" in report


def test_celery_s_module_is_named_in_a_conftest(tmp_path):
    code, report = run(
        tmp_path,
        "-p",
        "no:django_qstash.pytest_plugin",
        conftest='pytest_plugins = ("django_qstash.celery.contrib.pytest",)\n',
        test_trapped=TRAPPED,
    )

    assert code == 0, report
    assert "2 passed" in report


def test_beside_another_plugin_with_celery_s_names_that_one_has_them(tmp_path):
    code, report = run(
        tmp_path,
        *PLUGIN,
        "-p",
        "pytest_celery",
        pytest_celery=THEIRS,
        test_theirs="def test_theirs(celery_app):\n    assert celery_app == 'theirs'\n",
    )

    assert code == 0, report


def test_it_is_found_by_itself():
    text = (ROOT / "pyproject.toml").read_text()

    assert "[project.entry-points.pytest11]" in text
    assert '"django_qstash.pytest_plugin" = "django_qstash.pytest_plugin"' in text
