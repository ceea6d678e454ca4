"""The pytest plugin: ``qstash``, ``workflow_env``, and Celery's fixtures by Celery's names.

It is found by itself where the package is installed. Celery's names are left to the plugin
``pytest-celery`` where that is installed, too. ``-p no:django_qstash.pytest_plugin`` turns all of
it off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django_qstash.testing import QStashSandbox, WorkflowEnv

#: Plugins that have fixtures of Celery's names themselves.
_OTHERS = ("pytest_celery", "celery", "celery.contrib.pytest")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker, and add Celery's fixtures unless another plugin has them."""
    config.addinivalue_line(
        "markers",
        "celery(**settings): settings of the celery_app fixture, by Celery's names.",
    )
    plugins = config.pluginmanager
    if not any(plugins.has_plugin(name) for name in _OTHERS):
        from django_qstash.pytest_plugin import celery

        if not plugins.is_registered(celery):
            plugins.register(celery, celery.__name__)


@pytest.fixture
def qstash() -> Iterator[QStashSandbox]:
    """A :class:`django_qstash.testing.QStashSandbox` around the test.

    It keeps what the test sends, and delivers it when told: ``qstash.deliver_all()``.
    """
    from django_qstash.testing import QStashSandbox

    with QStashSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def workflow_env(request: pytest.FixtureRequest) -> Iterator[WorkflowEnv]:
    """A :class:`django_qstash.testing.WorkflowEnv` around the test: workflows by hand.

    Where ``pytest-django`` is used, the test may use the database by that.
    """
    from django_qstash.testing import WorkflowEnv

    let_use_the_database(request)
    with WorkflowEnv() as env:
        yield env


def let_use_the_database(request: pytest.FixtureRequest) -> None:
    """Ask pytest-django for the database, unless the test has."""
    names = request.fixturenames
    if request.config.pluginmanager.has_plugin("django") and not (
        {"transactional_db", "django_db_reset_sequences", "live_server"} & set(names)
    ):
        request.getfixturevalue("db")
