"""What is imported when Django starts: the project's Celery object, and the modules of tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from django_qstash import Celery
from django_qstash.application import discovery

SETTINGS = """
    SECRET_KEY = "x"
    INSTALLED_APPS = ["django_qstash", "shop"]
    DATABASES = {}
    USE_TZ = True
"""


@pytest.fixture
def site(tmp_path):
    """Write files, start Django in a process of its own, and run code there."""

    def run(code, files, settings=SETTINGS, fails=False):
        for name, text in {
            "proj/__init__.py": "",
            "proj/settings.py": settings,
            "shop/__init__.py": "",
            **files,
        }.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                "-c",
                f"import django, sys\ndjango.setup()\n{textwrap.dedent(code)}",
            ],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if "QSTASH" not in name},
                "DJANGO_SETTINGS_MODULE": "proj.settings",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert fails == bool(done.returncode), done.stderr
        return done.stderr if fails else done.stdout.split()

    return run


APP = """
    from django_qstash import Celery
    app = Celery("proj", namespace="CELERY", config_source="django.conf:settings")
    app.autodiscover_tasks()
"""


class TestTheProjectsObject:
    @pytest.mark.parametrize("name", discovery.MODULES)
    def test_its_module_beside_the_settings_is_imported(self, site, name):
        told = site(
            "from django_qstash import current_app; print(current_app.main, current_app.finalized)",
            {f"proj/{name}.py": APP},
        )

        assert told == ["proj", "True"]

    def test_a_module_about_real_celery_is_let_be(self, site):
        told = site(
            "print('proj.celery' in sys.modules)",
            {"proj/celery.py": "from celery import Celery\nraise SystemExit('imported')\n"},
        )

        assert told == ["False"]

    def test_an_error_in_it_rises(self, site):
        told = site("", {"proj/celery.py": f"{APP}\n    raise ValueError('broken')"}, fails=True)

        assert "ValueError: broken" in told

    def test_without_any_nothing_is_made(self, site):
        told = site(
            "from django_qstash.application import current\n"
            "print(current.existing(), 'django_qstash.application.app' in sys.modules)",
            {},
        )

        assert told == ["None", "False"]


class TestTasks:
    def test_modules_that_are_named(self, site):
        told = site(
            """
            from django_qstash.tasks.registry import tasks
            print(*sorted(name for name in tasks if name.startswith(("proj", "shop", "far"))))
            """,
            {
                "proj/celery.py": f"""
                    {textwrap.dedent(APP)}
                    app.autodiscover_tasks(["far"], related_name="jobs")
                    app.autodiscover_tasks(lambda: ["far.deep"], related_name=None)
                    app.autodiscover_tasks(["far"], related_name="nothing")
                    app.conf.imports = ("far.imported",)
                """.replace("\n                    ", "\n"),
                "shop/tasks.py": _task("one"),
                "far/__init__.py": "",
                "far/jobs.py": _task("two"),
                "far/deep.py": _task("three"),
                "far/imported.py": _task("four"),
            },
        )

        assert told == ["far.deep.three", "far.imported.four", "far.jobs.two", "shop.tasks.one"]

    def test_by_the_name_of_an_apps_class(self, site):
        told = site(
            "from django_qstash.tasks.registry import tasks; print('shop.jobs.one' in tasks)",
            {
                "proj/celery.py": textwrap.dedent(APP)
                + "app.autodiscover_tasks(related_name='jobs')",
                "shop/apps.py": """
                    from django.apps import AppConfig
                    class ShopConfig(AppConfig):
                        name = "shop"
                """,
                "shop/jobs.py": _task("one"),
            },
            settings=SETTINGS.replace('"shop"', '"shop.apps.ShopConfig"'),
        )

        assert told == ["True"]

    def test_an_error_in_one_of_them_rises(self, site):
        told = site(
            "", {"proj/celery.py": APP, "shop/tasks.py": "import no_such_module"}, fails=True
        )

        assert "No module named 'no_such_module'" in told


def _task(name):
    return f"from django_qstash import shared_task\n\n@shared_task\ndef {name}():\n    pass\n"


class TestAfterTheStart:
    def test_they_are_imported_at_once(self):
        app = Celery("proj")

        app.autodiscover_tasks(["tests.packaged"], related_name="no_such_module")
        app.autodiscover_tasks("tests.shop")

        with pytest.raises(ModuleNotFoundError):
            app.autodiscover_tasks(["tests.no_such_package.deep"], related_name=None)
        app.autodiscover_tasks(["tests.no_such_package"])

    def test_import_modules_is_told(self):
        from django_qstash import signals

        heard = []

        def receiver(sender, **_):
            heard.append(sender)

        app = Celery("proj", include=["tests.shop.tasks"])
        signals.import_modules.connect(receiver)
        try:
            app.import_modules()
        finally:
            signals.import_modules.disconnect(receiver)

        assert heard == [app]

    def test_several_are_finalized_together(self):
        from django_qstash.application.app import finalize_all

        apps = [Celery("one"), Celery("two", autofinalize=False)]
        finalize_all(apps)

        assert [app.finalized for app in apps] == [True, False]
