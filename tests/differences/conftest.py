"""What a test makes of tasks and Celery objects is gone after it."""

from __future__ import annotations

import pytest

from django_qstash import conf
from django_qstash.application import current
from django_qstash.tasks.registry import tasks as registry


@pytest.fixture(autouse=True)
def own_world():
    names, apps, told = set(registry), set(current.all_apps()), conf.celery
    with current.preserved():
        yield
        for app in set(current.all_apps()) - apps:
            app.close()
    conf.celery = told
    for name in set(registry) - names:
        registry.unregister(name)
