"""A web process that runs tasks tells of its beginning and its end, as Celery's worker does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from django_qstash import Celery, conf, signals
from django_qstash.application import current
from django_qstash.tasks import process
from django_qstash.tasks.request import hostname
from tests.door import knock, letter

NAMES = ("after_setup_task_logger", "worker_init", "worker_process_init", "worker_ready")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh(monkeypatch):
    """This process as if no delivery had come yet; and it tells of no end."""
    monkeypatch.setattr(process, "_begun", None)
    monkeypatch.setattr(process.atexit, "register", lambda *_: None)


@pytest.fixture
def heard():
    found = []
    receivers = []
    for name in NAMES:

        def receiver(name=name, **named):
            found.append((name, named))

        getattr(signals, name).connect(receiver)
        receivers.append((getattr(signals, name), receiver))
    yield found
    for signal, receiver in receivers:
        signal.disconnect(receiver)


@pytest.mark.django_db
def test_the_first_delivery_begins_it_once_and_in_celerys_order(fresh, heard):
    for _ in range(2):
        assert knock(letter("tests.shop.tasks.add", 1, 2)).status_code == 200

    assert [name for name, _ in heard] == list(NAMES)
    sender = heard[2][1]["sender"]
    assert (sender.pid, sender.hostname) == (os.getpid(), hostname())
    assert repr(sender) == f"<WebProcess: {hostname()} {os.getpid()}>"
    with current.preserved():
        app = Celery("proj")
        assert sender.app is app
        app.close()


def test_a_request_that_is_refused_does_not(fresh, heard):
    assert knock(letter("tests.shop.tasks.add", 1, 2), signature_header="x").status_code == 401
    assert heard == []


def test_the_task_logger_is_offered_with_the_format_that_is_set(fresh, heard):
    told = conf.celery
    with current.preserved():
        app = Celery("proj", worker_task_log_format="%(task_id)s %(message)s")
        process.begin()
        app.close()
    conf.celery = told

    name, named = heard[0]
    assert name == "after_setup_task_logger"
    assert named["logger"].name == "celery.task"
    assert named["format"] == "%(task_id)s %(message)s"


def test_others_wait_until_it_has_begun(fresh):
    order = []
    begins, goes_on = threading.Event(), threading.Event()

    def receiver(**_):
        begins.set()
        assert goes_on.wait(5)
        order.append("begun")

    signals.worker_process_init.connect(receiver)
    threads = [threading.Thread(target=process.begin)]
    threads.append(threading.Thread(target=lambda: (process.begin(), order.append("second"))))
    try:
        threads[0].start()
        assert begins.wait(5)
        threads[1].start()
        goes_on.set()
        for thread in threads:
            thread.join(5)
    finally:
        signals.worker_process_init.disconnect(receiver)

    assert order == ["begun", "second"]


def test_a_process_that_was_told_to_stop(fresh):
    heard = []

    def receiver(**named):
        heard.append(named)

    signals.worker_shutting_down.connect(receiver)
    try:
        process.stopping("SIGTERM")
        assert heard == []
        process.begin()
        process.stopping("SIGTERM")
    finally:
        signals.worker_shutting_down.disconnect(receiver)

    (named,) = heard
    assert (named["sender"], named["sig"], named["how"]) == (hostname(), "SIGTERM", "Warm")


def test_the_end_is_told_by_each_process_of_itself():
    """One that was forked from a process that had begun begins for itself, and ends for itself."""
    code = """
        import os, sys, django
        django.setup()
        from django_qstash import signals
        from django_qstash.tasks import process

        def tell(signal, **named):
            print(signal.name, os.getpid() == parent, named.get("pid") == os.getpid(), flush=True)

        for name in ("worker_process_init", "worker_process_shutdown", "worker_shutdown"):
            getattr(signals, name).connect(tell)
        parent = os.getpid()
        process.begin()
        child = os.fork()
        if child == 0:
            process.begin()
            sys.exit()
        os.waitpid(child, 0)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "worker_process_init True False",
        "worker_process_init False False",
        "worker_process_shutdown False True",
        "worker_shutdown False False",
        "worker_process_shutdown True True",
        "worker_shutdown True False",
    ]
