"""``manage.py runserver`` on a fresh machine: nothing configured, and tasks run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from django_qstash.conf import DEVELOPMENT_TOKEN
from django_qstash.devserver.probe import probe
from tests.processes.conftest import ROOT, eventually, free_port, is_up

pytestmark = pytest.mark.processes


@pytest.fixture
def start(tmp_path):
    """Starts ``runserver`` with a database and ports of its own; ended after the test."""
    started = []

    def run(*options, **environment):
        port, qstash_port = free_port(), free_port()
        environment = {
            **{k: v for k, v in os.environ.items() if "QSTASH" not in k and k != "DATABASE_URL"},
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TESTS_UNCONFIGURED": "1",
            "TESTS_DEBUG": "1",
            "TESTS_DATABASE": str(tmp_path / "db.sqlite3"),
            "QSTASH_DEV_PORT": str(qstash_port),
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        manage = [sys.executable, str(ROOT / "tests" / "manage.py")]
        subprocess.run([*manage, "migrate", "-v", "0"], env=environment, check=True, cwd=tmp_path)
        log = (tmp_path / "log.txt").open("w+")
        process = subprocess.Popen(
            [*manage, "runserver", f"127.0.0.1:{port}", *options],
            env=environment,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started.append((process, log))
        process.site = f"http://127.0.0.1:{port}"
        process.qstash = f"http://127.0.0.1:{environment['QSTASH_DEV_PORT']}"
        process.shell = lambda code: (
            subprocess.run(
                [*manage, "shell", "-v", "0", "-c", code],
                env={**environment, "DJANGO_QSTASH_DOMAIN": process.site},
                check=True,
                cwd=tmp_path,
                capture_output=True,
                text=True,
            ).stdout
        )
        process.log = (tmp_path / "log.txt").read_text
        return process

    yield run
    for process, log in started:
        # The autoreloader's child does not end with a parent that was killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


@pytest.mark.parametrize("options", [(), ("--noreload",)], ids=["reloader", "noreload"])
def test_the_embedded_server_starts_with_it_and_ends_with_it(start, options):
    site = start(*options)
    eventually(lambda: is_up(site.site))
    assert probe(site.qstash) == "qstash"
    assert "The embedded QStash server runs at" in site.log()

    code = "from tests.shop.tasks import add; print(add.delay(2, 3).get(timeout=10))"
    assert site.shell(code).strip().endswith("5")

    site.kill()
    site.wait()
    eventually(lambda: probe(site.qstash) == "nothing")


def test_messages_outlive_a_reload(start):
    site = start()
    eventually(lambda: is_up(site.site))
    before = publish_once(site)

    def reloaded():
        os.utime(ROOT / "tests" / "shop" / "tasks.py")
        return "changed, reloading" in site.log()

    eventually(reloaded)
    eventually(lambda: is_up(site.site))

    assert publish_once(site) == {**before, "deduplicated": True}
    assert site.log().count("The embedded QStash server runs at") == 1


def publish_once(site):
    """The answer to a message that QStash keeps for an hour, and takes only once."""
    request = urllib.request.Request(
        f"{site.qstash}/v2/publish/http://127.0.0.1:9/",
        data=b"{}",
        method="POST",
        headers={
            "Authorization": f"Bearer {DEVELOPMENT_TOKEN}",
            "Upstash-Delay": "1h",
            "Upstash-Deduplication-Id": "the-same",
        },
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_a_qstash_server_that_is_there_already_is_used(start):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "django_qstash.devserver", "--port", str(port), "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: probe(f"http://127.0.0.1:{port}") == "qstash")
        site = start("--noreload", QSTASH_DEV_PORT=str(port))
        eventually(lambda: is_up(site.site))
        assert "The embedded QStash server runs at" not in site.log()
        site.kill()
        site.wait()
        time.sleep(1.5)
        assert probe(f"http://127.0.0.1:{port}") == "qstash"
    finally:
        server.terminate()
        server.wait(10)


def test_anything_else_on_that_port_is_one_clear_error(start):
    import http.server
    import threading

    other = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    other.RequestHandlerClass.log_message = lambda *args: None
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        site = start(QSTASH_DEV_PORT=str(other.server_port))
        eventually(lambda: is_up(site.site))
        assert site.log().count("Something that is not a QStash server answers at") == 1
    finally:
        other.shutdown()
        other.server_close()


def test_without_aiohttp_one_line_says_what_to_install(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['aiohttp'] = None\n")
    site = start(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    eventually(lambda: is_up(site.site))
    assert site.log().count("pip install 'django-qstash[dev-server]'") == 1
    assert probe(site.qstash) == "nothing"
