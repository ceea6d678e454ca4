"""``python -m django_qstash.migrate``: what it shows, writes and answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from django_qstash.migrate.__main__ import main
from django_qstash.migrate.codebase import read
from django_qstash.migrate.differences import rows

TASKS = """\
import time

from celery import shared_task
from celery.signals import worker_process_init


@shared_task(acks_late=True, time_limit=30)
def work(x):
    time.sleep(x)


@worker_process_init.connect
def begin(**kwargs):
    work.apply_async((1,), priority=3)
"""


@pytest.fixture
def project(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_py", ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def keys(found):
    return {row.key for row, _ in found.met()}


def places(found, key):
    return [
        (found.name(place.path), place.line, place.text)
        for row, places in found.met()
        if row.key == key
        for place in places
    ]


class TestCommand:
    def test_it_shows_and_changes_nothing(self, project, capsys):
        root = project(shop__tasks_py=TASKS)

        assert main([str(root)]) == 0

        shown = capsys.readouterr().out
        assert "--- a/shop/tasks.py\n+++ b/shop/tasks.py" in shown
        assert "-from celery import shared_task\n" in shown
        assert "+from django_qstash import shared_task\n" in shown
        assert "+from django_qstash.celery.signals import worker_process_init\n" in shown
        assert "\n`acks_late`\n  Celery:" in shown
        assert "  shop/tasks.py:7: acks_late\n" in shown
        assert "Nothing is written yet: python -m django_qstash.migrate" in shown
        assert "add 'django_qstash' and 'django_qstash.results' to INSTALLED_APPS" in shown
        assert (root / "shop/tasks.py").read_text() == TASKS

    def test_it_writes_when_it_is_told_to(self, project, capsys):
        root = project(shop__tasks_py=TASKS, shop__views_py="x = 1\n")

        assert main([str(root), "--write"]) == 0

        shown = capsys.readouterr().out
        assert "wrote shop/tasks.py" in shown
        assert "views.py" not in shown
        text = (root / "shop/tasks.py").read_text()
        assert text == TASKS.replace("from celery import", "from django_qstash import").replace(
            "from celery.", "from django_qstash.celery."
        )
        assert main([str(root)]) == 0
        again = capsys.readouterr().out
        assert "No import of Celery's is to be swapped." in again
        # What behaves differently still does.
        assert "\n`acks_late`\n" in again

    def test_an_import_without_a_counterpart_stays_and_fails(self, project, capsys):
        root = project(proj__steps_py="from celery import bootsteps\nfrom celery import group\n")

        assert main([str(root), "--write"]) == 1

        assert "proj/steps.py:1: celery.bootsteps has no place here" in capsys.readouterr().out
        assert (root / "proj/steps.py").read_text() == (
            "from celery import bootsteps\nfrom django_qstash import group\n"
        )

    def test_a_file_that_is_no_python_is_told(self, project, capsys):
        root = project(old_py="print 'hello'\n", good_py="from celery import group\n")

        assert main([str(root)]) == 1

        shown = capsys.readouterr().out
        assert "cannot be read as Python:\n  old.py:1: " in shown
        assert "+from django_qstash import group" in shown

    def test_one_file(self, project, capsys):
        root = project(one_py="from celery import group\n", two_py="from celery import group\n")

        assert main([str(root / "one.py"), "--write"]) == 0

        assert "wrote one.py" in capsys.readouterr().out
        assert "celery" in (root / "two.py").read_text()

    def test_a_path_that_is_not_there(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path / "nothing")])
        assert ended.value.code == 2
        assert "there is no " in capsys.readouterr().err

    def test_encoding_and_line_ends_stay(self, tmp_path):
        path = tmp_path / "latin.py"
        path.write_bytes(
            "# -*- coding: latin-1 -*-\r\nname = 'Zoë'\r\nfrom celery import group\r\n".encode(
                "latin-1"
            )
        )

        main([str(tmp_path), "--write"])

        assert path.read_bytes() == (
            "# -*- coding: latin-1 -*-\r\nname = 'Zoë'\r\nfrom django_qstash import group\r\n"
        ).encode("latin-1")

    def test_folders_of_other_people_are_left_alone(self, project):
        root = project(
            venv__x_py="from celery import group",
            node_modules__x_py="from celery import group",
            own__x_py="from celery import group",
        )
        (root / ".hidden").mkdir()
        (root / ".hidden/x.py").write_text("from celery import group")

        assert [found.name(source.path) for found in [read(root)] for source in found.sources] == [
            "own/x.py"
        ]

    def test_programs(self, project, capsys):
        root = project(Procfile="web: gunicorn\nworker: celery -A proj worker -l info\n", run="")
        (root / "compose.yml").write_text('command: ["celery", "--app=proj", "beat"]\n')
        (root / "celery.yml").write_text("name: celery\n")

        main([str(root)])

        shown = capsys.readouterr().out
        assert "  Procfile:2: celery worker\n  compose.yml:1: celery beat" in shown

    def test_it_runs_without_any_settings(self, project):
        root = project(shop__tasks_py=TASKS)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "django_qstash.migrate", str(root)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(sys.prefix),
        )

        assert (done.returncode, done.stderr) == (0, "")
        assert "+from django_qstash import shared_task" in done.stdout


class TestWhatIsMet:
    def test_options_of_tasks(self, project):
        found = read(
            project(
                a_py="@app.task(acks_late=True)\ndef f(): pass\n",
                b_py=(
                    "from celery import Task\n"
                    "class Base(Task):\n    rate_limit = '1/m'\n    colour = 1\n"
                ),
                c_py="class Base(app.Task):\n    priority: int = 3\n",
                d_py="class Other(Base):\n    time_limit = 3\n",
                e_py="@app.task\nasync def f(time_limit): pass\n",
                f_py="@tasks.shared_task(serializer='pickle')\nasync def f(): pass\n",
            )
        )

        assert places(found, "acks-late") == [("a.py", 1, "acks_late")]
        assert places(found, "rate-limit") == [("b.py", 3, "rate_limit")]
        assert places(found, "priority") == [("c.py", 2, "priority")]
        assert places(found, "pickle") == [("f.py", 1, "serializer")]
        assert "time-limit" not in keys(found)

    def test_arguments_of_calls(self, project):
        found = read(
            project(
                a_py=(
                    "app.control.revoke(task_id, terminate=True)\n"
                    "result.revoke()\n"
                    "add.apply_async(args, exchange='x')\n"
                )
            )
        )

        assert places(found, "revoke-terminate") == [("a.py", 1, "revoke(terminate=)")]
        assert places(found, "broker-options") == [("a.py", 3, "apply_async(exchange=)")]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("CELERY_TASK_ACKS_LATE = True", 1),
            ("CELERY_ACKS_LATE = True", 1),
            ("if DEBUG:\n    CELERY_TASK_ACKS_LATE: bool = True", 2),
            ("class Base(Configuration):\n    CELERY_TASK_ACKS_LATE = True", 2),
            ("app.conf.task_acks_late = True", 1),
            ("app.conf.update(\n    task_acks_late=True)", 2),
            ("app = Celery('proj', task_acks_late=True)", 1),
        ],
    )
    def test_settings_by_all_their_names(self, project, text, line):
        found = read(project(settings_py=text))

        assert places(found, "acks-late") == [("settings.py", line, "task_acks_late")]

    def test_settings_of_a_module_and_of_another_namespace(self, project):
        found = read(
            project(
                proj__celeryconfig_py="task_acks_late = True\ntask_colour = 1\n",
                proj__celery_app_py=(
                    "app.config_from_object('django.conf:settings', namespace='WORK')\n"
                    "app.conf.update({'task_time_limit': 3})\n"
                ),
                settings_py="WORK_RESULT_BACKEND = 'rpc'\nCELERY_TASK_TIME_LIMIT = 1\n",
                plain_py="task_acks_late = True\n",
            )
        )

        assert [place[:2] for place in places(found, "acks-late")] == [("proj/celeryconfig.py", 1)]
        assert [place[:2] for place in places(found, "time-limit")] == [("proj/celery_app.py", 2)]
        assert [place[:2] for place in places(found, "result-backend")] == [("settings.py", 1)]

    def test_brokers_and_workers(self, project):
        found = read(
            project(settings_py="CELERY_BROKER_URL = 'x'\nCELERY_WORKER_CONCURRENCY = 1\n")
        )

        assert [place[1] for place in places(found, "settings")] == [1, 2]

    def test_signals_however_they_are_imported(self, project):
        found = read(
            project(
                a_py="from celery.signals import beat_init\n",
                b_py="from celery import signals\n@signals.setup_logging.connect\ndef f(): pass\n",
                c_py="import celery.signals\ncelery.signals.celeryd_init.connect(f)\n",
                d_py="from django_qstash.celery import signals as s\ns.beat_init.connect(f)\n",
                e_py="from celery.signals import task_success\n",
            )
        )

        assert [place[:2] for place in places(found, "silent-signals")] == [
            ("a.py", 1),
            ("b.py", 2),
            ("c.py", 2),
            ("d.py", 2),
        ]

    def test_what_is_asked_of_workers(self, project):
        found = read(
            project(
                a_py=(
                    "app.control.broadcast('x')\n"
                    "current_app.control.inspect().active()\n"
                    "app.control.purge()\n"
                )
            )
        )

        assert places(found, "control") == [("a.py", 1, "control.broadcast")]
        assert places(found, "inspect") == [("a.py", 2, "control.inspect")]
        assert places(found, "purge") == [("a.py", 3, "control.purge")]

    def test_modules_of_the_worker(self, project):
        found = read(project(a_py="from celery.worker.control import inspect_command\n"))

        assert places(found, "machinery") == [("a.py", 1, "celery.worker")]

    def test_apps_of_other_packages(self, project):
        found = read(project(settings_py="INSTALLED_APPS = [\n    'django_celery_results',\n]\n"))

        assert [place[:2] for place in places(found, "django-celery-results")] == [
            ("settings.py", 2)
        ]

    def test_ordinary_code_meets_nothing(self, project):
        found = read(
            project(
                a_py=(
                    "from celery import shared_task, chain\n"
                    "@shared_task(bind=True, max_retries=3)\n"
                    "def f(self, x):\n    chain(f.s(1), f.s(2)).delay()\n"
                ),
                c_py="post_save.connect(f, sender=User)\n",
                b_py="class Task:\n    priority = 1\nclass Own(Task):\n    priority = 2\n",
            )
        )

        assert keys(found) == set()

    @pytest.mark.parametrize("row", [row for row in rows() if row.signs], ids=lambda row: row.key)
    def test_every_sign_of_every_row_is_found(self, project, row):
        """A text that bears the sign is found by it: no sign is spelled so that nothing has it."""
        for number, sign in enumerate(row.signs):
            name = sign.name.replace("*", "url")
            text = {
                "option": f"@app.task({name}=1)\ndef f(): pass\n",
                "argument": f"x.{name}({sign.keyword}=1)\n",
                "setting": f"CELERY_{name.upper()} = 1\n",
                "imported": f"import {name}\n",
                "attribute": f"app.{name}(1)\n",
            }[sign.kind]
            root = project(**{f"{sign.kind}{number}__x_py": text})

            assert row.key in keys(read(root / f"{sign.kind}{number}")), sign
