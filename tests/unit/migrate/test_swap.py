"""Imports of Celery's become imports of what stands in for them, and nothing else changes."""

from __future__ import annotations

import ast
import importlib
import pkgutil

import pytest

from django_qstash.migrate.mirror import home, is_celerys, why_not
from django_qstash.migrate.swap import Swapped, swapped


def swap(text: str) -> Swapped:
    return swapped(text, ast.parse(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from celery import shared_task", "from django_qstash import shared_task"),
        (
            "from celery import chain, group  # both",
            "from django_qstash import chain, group  # both",
        ),
        ("from celery import Celery as App", "from django_qstash import Celery as App"),
        ("from celery import signals", "from django_qstash.celery import signals"),
        (
            "from celery.utils.log import get_task_logger",
            "from django_qstash.celery.utils.log import get_task_logger",
        ),
        ("from celery.exceptions import *", "from django_qstash.celery.exceptions import *"),
        (
            "from celery import (\n    chain,  # one\n    chord,\n)\n",
            "from django_qstash import (\n    chain,  # one\n    chord,\n)\n",
        ),
        ("from  celery  import states", "from  django_qstash  import states"),
        ("import celery", "from django_qstash import celery"),
        ("import celery as c", "import django_qstash.celery as c"),
        ("import celery.states as s", "import django_qstash.celery.states as s"),
        (
            "import celery.signals",
            "from django_qstash import celery\nimport django_qstash.celery.signals",
        ),
        ("import os, celery", "import os\nfrom django_qstash import celery"),
        (
            "if 1:\n    import celery.result\n    x = 1",
            (
                "if 1:\n    from django_qstash import celery\n"
                "    import django_qstash.celery.result\n    x = 1"
            ),
        ),
        (
            "x = 1; import celery.result; y = 2",
            "x = 1; from django_qstash import celery; import django_qstash.celery.result; y = 2",
        ),
        (
            "é = 'ü'; from celery import group; from celery import chord",
            "é = 'ü'; from django_qstash import group; from django_qstash import chord",
        ),
        (
            "try:\n    from celery import shared_task\nexcept ImportError:\n    shared_task = None",
            (
                "try:\n    from django_qstash import shared_task\n"
                "except ImportError:\n    shared_task = None"
            ),
        ),
        ("from celery import group\r\nx = 1\r\n", "from django_qstash import group\r\nx = 1\r\n"),
        ("x = '\x0c'\nfrom celery import group\n", "x = '\x0c'\nfrom django_qstash import group\n"),
    ],
)
def test_each_form(before, after):
    found = swap(before)

    assert found.text == after
    assert found.left == ()
    ast.parse(found.text)
    assert swap(found.text).text == found.text


@pytest.mark.parametrize(
    "text",
    [
        "from .celery import app",
        "from proj.celery import app",
        "import celerylike",
        "from celery_haystack import tasks",
        "text = 'from celery import group'",
        "# from celery import group",
        "celery = 1",
    ],
)
def test_what_is_not_celerys_stays(text):
    assert swap(text) == Swapped(text, (), ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("from celery import bootsteps", "there is no worker"),
        ("from celery.bin.base import Command", "celery.bin has no place here: there are no prog"),
        ("import celery.worker", "celery.worker has no place here"),
        ("from celery.task.schedules import crontab", "celery.task.schedules has no counterpart"),
        ("from celery.result import ResultBase", "celery.result.ResultBase has no counterpart"),
        ("from celery import group, nothing", "celery.nothing has no counterpart here"),
    ],
)
def test_what_has_no_counterpart_stays_and_is_told(text, reason):
    found = swap(f"\n{text}\n")

    assert found.text == f"\n{text}\n"
    (remark,) = found.left
    assert remark.line == 2
    assert reason in remark.text


def test_texts_that_are_paths_are_told():
    found = swap('patch("celery.app.task.Task.apply_async")\nlog = "celery.task"\nx = "celery"\n')

    assert [(remark.line, remark.text) for remark in found.paths] == [
        (1, "celery.app.task.Task.apply_async")
    ]


def test_the_mirror_is_asked():
    assert is_celerys("celery")
    assert is_celerys("celery.app.task")
    assert not is_celerys("celerylike")
    assert not is_celerys(None)
    assert why_not("celery.schedules", "crontab") is None
    assert home("celery", ["Celery", "chain"]) == "django_qstash"
    assert home("celery", ["Celery", "signals"]) == "django_qstash.celery"
    assert home("celery.app.task", ["Task"]) == "django_qstash.celery.app.task"


def test_what_is_swapped_can_be_imported():
    """Every public name of every mirrored module, by Celery's own path."""
    mirror = importlib.import_module("django_qstash.celery")
    imports = []
    for found in pkgutil.walk_packages(mirror.__path__, "celery."):
        if why_not(found.name) is None:
            module = importlib.import_module(f"django_qstash.{found.name}")
            imports += [
                f"from {found.name} import {name}" for name in getattr(module, "__all__", ())
            ]
    assert len(imports) > 100

    text = swap("\n".join(imports)).text

    assert "from celery" not in text
    exec(text, {})
