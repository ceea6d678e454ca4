"""The system checks about Celery objects: each setting without effect is named once."""

from __future__ import annotations

import gc

import pytest
from django.core.checks import run_checks

from django_qstash import Celery, signals


def told(*ids):
    return [each for each in run_checks(tags=["django_qstash"]) if each.id[-4:] in ids]


def test_settings_that_mean_something_here_are_no_matter(settings):
    settings.CELERY_TASK_ALWAYS_EAGER = False
    settings.CELERY_TASK_SERIALIZER = "json"
    settings.CELERY_ACCEPT_CONTENT = ["json"]
    settings.CELERY_TASK_TRACK_STARTED = True
    app = Celery("proj", config_source="django.conf:settings", namespace="CELERY")
    app.conf.task_time_limit = 30

    assert told("E030", "W030", "W031", "W032") == []


def test_those_of_broker_and_worker_are_listed_in_one_warning(settings):
    settings.CELERY_BROKER_URL = "redis://secret@localhost"
    settings.CELERY_WORKER_CONCURRENCY = 4
    settings.CELERY_RESULT_BACKEND = "rpc://"
    settings.CELERY_RESULT_EXTENDED = False
    app = Celery("proj", config_source="django.conf:settings", namespace="CELERY")
    app.conf.worker_prefetch_multiplier = 1

    (warning,) = told("W030")
    for name in (
        "CELERY_BROKER_URL (there is no broker)",
        "CELERY_WORKER_CONCURRENCY, worker_prefetch_multiplier (the web server's processes",
        "CELERY_RESULT_BACKEND (results are kept by django_qstash.results)",
        "CELERY_RESULT_EXTENDED (results always hold",
    ):
        assert name in warning.msg
    assert "secret" not in warning.msg


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CELERY_TASK_SERIALIZER", "pickle"),
        ("CELERY_ACCEPT_CONTENT", ["pickle"]),
        ("CELERY_TASK_ACKS_ON_FAILURE_OR_TIMEOUT", False),
    ],
)
def test_what_cannot_be_is_an_error(settings, name, value):
    setattr(settings, name, value)
    app = Celery("proj", config_source="django.conf:settings", namespace="CELERY")

    (error,) = told("E030")
    assert error.msg.startswith(f"{name}: ")
    assert app.conf.given()


def test_one_that_celery_does_not_know_is_named_with_what_is_closest(settings):
    settings.CELERY_TASK_ALWAYS_EAGR = True
    app = Celery("proj", config_source="django.conf:settings", namespace="CELERY")

    (warning,) = told("W031")
    assert "CELERY_TASK_ALWAYS_EAGR" in warning.msg
    assert warning.hint == "Did you mean 'task_always_eager' by CELERY_TASK_ALWAYS_EAGR?"
    assert app.main in warning.msg


def test_a_receiver_of_a_signal_that_is_never_sent():
    def receiver(**_):
        pass

    signals.beat_init.connect(receiver)
    try:
        (warning,) = told("W032")
    finally:
        signals.beat_init.disconnect(receiver)
    assert "beat_init, which is never sent here: QStash fires the schedules" in warning.msg
    assert told("W032") == []


def test_a_receiver_that_is_gone_waits_for_nothing():
    signals.beat_init.connect(lambda **_: None)
    gc.collect()
    assert told("W032") == []
    signals.beat_init.connect(told, sender="anybody", weak=False)
    try:
        assert len(told("W032")) == 1
    finally:
        signals.beat_init.disconnect(told, sender="anybody")
