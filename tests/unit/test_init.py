"""The face: every public name, each at home somewhere, and nothing heavy loaded to see it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from importlib import import_module

import pytest

import django_qstash

HEAVY = ["django.db.models", "django.test", "httpx", "qstash", "jwt", "croniter", "aiohttp"]


def loaded_by(code: str) -> set[str]:
    """Which of the heavy modules a new Python process has after ``code``, with no settings."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"{textwrap.dedent(code)}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])",
        ],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stdout))


class TestImportingIsLight:
    def test_the_package(self):
        assert loaded_by("import django_qstash") == set()

    def test_a_task_that_is_declared_and_called(self):
        assert (
            loaded_by(
                """
                from django_qstash import shared_task, stashed_task

                @shared_task
                def add(x, y):
                    return x + y

                @stashed_task(bind=True, name="named", retries=2)
                def named(self, x):
                    return self.name, x

                @shared_task
                async def later(x):
                    return x

                assert add(2, 3) == 5
                assert named(1) == ("named", 1)
                assert add.name == "__main__.add"
                """
            )
            == set()
        )

    def test_a_workflow_that_is_declared(self):
        assert (
            loaded_by(
                """
                from django_qstash import RetryPolicy, define_workflow, step, workflow

                @step(retries=2)
                def pay(amount):
                    return amount

                @workflow("shop.order", retry=RetryPolicy(max_attempts=2), timeout="1h")
                def order(ctx, amount):
                    return pay(amount)

                again = define_workflow("shop.again", handler=lambda ctx: None)
                assert (order.name, again.name, pay(3)) == ("shop.order", "shop.again", 3)
                """
            )
            == set()
        )

    def test_every_public_name(self):
        assert loaded_by("from django_qstash import *") == set()

    def test_reading_a_setting(self):
        assert loaded_by("from django_qstash.conf import settings; settings.QSTASH_TOKEN") == set()


class TestTheNames:
    def test_all_of_them_can_be_imported(self):
        for name in django_qstash.__all__:
            assert getattr(django_qstash, name) is not None

    def test_all_is_sorted_and_names_each_once(self):
        assert django_qstash.__all__ == sorted(set(django_qstash.__all__))

    def test_each_has_a_home_and_is_the_very_thing_that_lives_there(self):
        assert {*django_qstash._HOMES, "states", "__version__"} == set(django_qstash.__all__)
        for name, home in django_qstash._HOMES.items():
            module = import_module(f"django_qstash.{home}")
            there = getattr(module, django_qstash._ALIASES.get(name, name))

            assert getattr(django_qstash, name) is there

    def test_type_checkers_see_the_same_names_at_the_same_homes(self):
        tree = ast.parse(inspect.getsource(django_qstash))
        (block,) = [node for node in tree.body if isinstance(node, ast.If)]

        seen = {
            alias.asname or alias.name: node.module.removeprefix("django_qstash.")
            for node in block.body
            for alias in node.names
        }

        assert seen == django_qstash._HOMES

    def test_dir_shows_them(self):
        assert set(django_qstash.__all__) <= set(dir(django_qstash))

    def test_another_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="'django_qstash' has no attribute 'nothing'"):
            _ = django_qstash.nothing

    def test_states_are_a_module_of_their_own(self):
        assert django_qstash.states.SUCCESS == "SUCCESS"

    def test_the_version_is_one(self):
        assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", django_qstash.__version__)
