"""Rows about the application, signals and schedules."""

from __future__ import annotations

import importlib

import pytest
from django.core.checks import run_checks

from django_qstash import Celery, shared_task, signals
from django_qstash.application.absent import CONTROL, MODULES
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.migrate.differences import rows
from django_qstash.tasks import process
from tests.differences import shows
from tests.door import knock, letter

pytestmark = pytest.mark.django_db


def signs(key):
    (row,) = (row for row in rows() if row.key == key)
    return row.signs


@shows("one-registry")
def test_all_objects_have_the_tasks_of_the_process():
    first, second = Celery("first"), Celery("second")
    task = first.task(lambda: 1, name="first.one")

    assert second.tasks["first.one"] is task
    with pytest.raises(TypeError, match="one registry serves the whole process"):
        second.task(shared=False)


@shows("settings")
def test_settings_of_programs_are_listed_by_a_check(settings):
    names = ["broker_url", "worker_concurrency", "beat_scheduler", "redis_socket_timeout"]
    for name in names:
        setattr(settings, f"CELERY_{name.upper()}", "x")
    app = Celery("proj", config_source="django.conf:settings", namespace="CELERY")

    (warning,) = [
        each for each in run_checks(tags=["django_qstash"]) if each.id == "django_qstash.W030"
    ]
    assert all(f"CELERY_{name.upper()}" in warning.msg for name in names)
    assert app.conf.broker_url == "x"


@shows("control")
def test_what_a_worker_would_do_says_why_not():
    control = Celery("proj").control

    for sign in signs("control"):
        name = sign.name.partition(".")[2]
        with pytest.raises(AttributeError, match=rf"app.control.{name}: "):
            getattr(control, name)
        assert name in CONTROL
    assert control.ping()


class Asked:
    """A transport that remembers what it was asked for."""

    paths: list[str] = []

    def request(self, method, path, body=None):
        self.paths.append(f"{method} {path}")
        return {"cancelled": 3 if len(self.paths) == 1 else 0}


@shows("purge")
def test_only_messages_to_this_site_are_withdrawn(settings):
    settings.DJANGO_QSTASH_TRANSPORT = f"{__name__}.Asked"

    assert Celery("proj").control.purge() == 3

    door = "url=https%3A%2F%2Fshop.example.com%2Fqstash%2Fwebhook%2F"
    assert [path.startswith(f"DELETE /v2/messages?{door}") for path in Asked.paths] == [True] * 2


@shows("inspect")
def test_it_reads_the_table_and_asks_nobody():
    inspect = Celery("proj").control.inspect(timeout=0)
    seen = []
    shared_task(name="seen")(lambda: seen.append(inspect.active()))

    knock(letter("seen", id="one"))

    assert [info["id"] for (infos,) in [seen[0].values()] for info in infos] == ["one"]


@shows("machinery")
def test_the_workers_insides_say_why_they_are_not_here():
    named = {sign.name.partition(".")[2] for sign in signs("machinery")}

    assert named | {"backends"} == set(MODULES)
    for name in named:
        with pytest.raises(ImportError, match=f"celery.{name} has no place here"):
            importlib.import_module(f"django_qstash.celery.{name}")


@shows("sender-by-name")
def test_a_task_is_meant_by_its_name_for_every_signal():
    heard = []

    def receiver(sender, **_):
        heard.append(sender.name)

    shared_task(name="named")(lambda: 1)
    signals.task_success.connect(receiver, sender="named")
    knock(letter("named"))
    knock(letter("tests.shop.tasks.add", 1, 2))

    assert heard == ["named"]


@shows("worker-signals")
def test_a_process_begins_with_its_first_task(monkeypatch):
    monkeypatch.setattr(process, "_begun", None)
    monkeypatch.setattr(process.atexit, "register", lambda *_: None)
    heard = []

    def receiver(**_):
        heard.append("begun")

    signals.worker_process_init.connect(receiver)
    shared_task(name="listening")(lambda: heard.append("ran"))
    for _ in range(2):
        knock(letter("listening"))

    assert heard == ["begun", "ran", "ran"]


@shows("silent-signals")
def test_a_check_names_the_signals_that_are_never_sent():
    def receiver(**_):
        pass

    for sign in signs("silent-signals"):
        getattr(signals, sign.name.rpartition(".")[2]).connect(receiver)

    told = [each for each in run_checks(tags=["django_qstash"]) if each.id == "django_qstash.W032"]
    assert len(told) == len(signs("silent-signals"))


@shows("solar")
def test_the_sun_is_not_known():
    from django_qstash.celery.schedules import solar

    with pytest.raises(ImproperlyConfigured, match="knows no sunrise"):
        solar("sunset", 0, 0)
