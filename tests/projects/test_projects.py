"""Three projects that were written for Celery, before and after their imports were swapped.

What each of them brings about is told by its story, once under real Celery and once here. A fourth
keeps Celery, and uses both.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from django_qstash.migrate.__main__ import main as migrate

HERE = Path(__file__).parent
#: Each project, its settings, and where they stand.
PROJECTS = {
    "bookshop": ("bookshop.settings", "bookshop/settings.py"),
    "newsroom": ("config.settings.base", "config/settings/base.py"),
    "press": ("press.settings", "press/settings.py"),
}
#: All that a project's settings get besides: what docs/celery.md says.
ADDED = """
INSTALLED_APPS += ["django_qstash", "django_qstash.results"]
ROOT_URLCONF = "qstash_urls"
DJANGO_QSTASH_DOMAIN = "https://shop.example.com"
DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Loopback"
ALLOWED_HOSTS = ["shop.example.com"]
QSTASH_TOKEN = "token"
QSTASH_CURRENT_SIGNING_KEY = "sig_currentcurrentcurrentcurrent"
QSTASH_NEXT_SIGNING_KEY = "sig_nextnextnextnextnextnextnext"
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("qstash/webhook/", include("django_qstash.urls"))]
"""


@pytest.fixture(params=PROJECTS)
def project(request, tmp_path):
    folder = tmp_path / request.param
    shutil.copytree(HERE / request.param, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def story(folder, how):
    settings, _ = PROJECTS.get(folder.name, ("both.settings", None))
    environment = {
        name: value
        for name, value in os.environ.items()
        if "QSTASH" not in name and name not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), how, settings],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def swap(folder, capsys):
    """Do what the documentation says; how many lines were changed, and which."""
    before = {path: path.read_text() for path in folder.rglob("*.py")}
    assert migrate([str(folder), "--write"]) == 0
    capsys.readouterr()
    changed = [
        line[1:]
        for path, text in before.items()
        for line in difflib.ndiff(text.splitlines(), path.read_text().splitlines())
        if line[0] in "-+"
    ]
    settings = folder / PROJECTS[folder.name][1]
    settings.write_text(settings.read_text() + ADDED)
    (folder / "qstash_urls.py").write_text(URLS)
    return changed


def test_a_project_runs_unchanged_but_for_the_prefix(project, capsys):
    pytest.importorskip("celery")
    under_celery = story(project, "celery")
    for left in (*project.rglob("__pycache__"), *project.glob("*.sqlite3")):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()

    changed = swap(project, capsys)

    assert changed
    assert [line for line in changed if "import" not in line] == []
    here = story(project, "qstash")
    assert list(here) == list(under_celery)
    for chapter, told in under_celery.items():
        assert here[chapter] == told, chapter


def test_beside_real_celery_each_keeps_to_itself(tmp_path):
    pytest.importorskip("celery")
    folder = tmp_path / "beside"
    shutil.copytree(HERE / "beside", folder, ignore=shutil.ignore_patterns("__pycache__"))

    assert story(folder, "both") == {
        "our tasks": ["shop.tasks.ours", "shop.tasks.ours_sends_theirs"],
        "their tasks": ["shop.tasks.theirs", "shop.tasks.theirs_sends_ours"],
        "our schedule": ["ours"],
        "their schedule": ["theirs"],
        # Nobody made one of ours, so that CELERY_* settings mean nothing to us.
        "our object": "default",
        "checks": [],
        "results": [["theirs", 5], ["ours", None]],
        "ran": [["ours", 2], ["theirs", 1]],
        "crossed": [["ours", 4], ["theirs", 3]],
        "rows": ["shop.tasks.ours", "shop.tasks.ours", "shop.tasks.ours_sends_theirs"],
        "their results are theirs": True,
        "heard": {
            "ours": ["shop.tasks.ours", "shop.tasks.ours", "shop.tasks.ours_sends_theirs"],
            "theirs": ["shop.tasks.theirs", "shop.tasks.theirs", "shop.tasks.theirs_sends_ours"],
        },
    }
