"""A real site: a web server's processes, a QStash server, and the test's own database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from django.db import connection

from django_qstash.transport.address import webhook_url

ROOT = Path(__file__).parent.parent.parent
GUNICORN = (
    *("-m", "gunicorn", "tests.wsgi:application", "--no-control-socket"),
    *("--workers", "2", "--threads", "4", "--timeout", "20", "--graceful-timeout", "10"),
)
UVICORN = ("-m", "uvicorn", "tests.asgi:application", "--log-level", "warning")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def is_up(url: str) -> bool:
    """True if something answers there, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


class Site:
    """The processes of one web server."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self.port = port
        self.environment = environment
        self.process: subprocess.Popen | None = None

    def start(self, server: tuple[str, ...] = GUNICORN) -> None:
        where = (
            ("--bind", f"127.0.0.1:{self.port}")
            if "gunicorn" in server
            else ("--port", str(self.port))
        )
        self.process = subprocess.Popen(
            [sys.executable, *server, *where],
            cwd=ROOT,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if is_up(webhook_url()):
                return
            time.sleep(0.05)
        raise AssertionError("The site did not start.")

    def terminate(self) -> int:
        """SIGTERM, and wait for it to end as it will."""
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture
def qstash(request):
    """A QStash server whose retries come fifty times faster, with faults if a test asks."""
    from django_qstash.devserver.embedded import EmbeddedServer
    from django_qstash.devserver.faults import Knobs

    faults = Knobs(**getattr(request, "param", {}))
    with EmbeddedServer(retry_scale=0.02, faults=faults) as server:
        yield server


def configure(settings, qstash, port: int) -> dict[str, str]:
    """Have this process send to the site at that port; the environment that makes it one."""
    values = {
        "QSTASH_URL": qstash.url,
        "QSTASH_TOKEN": qstash.token,
        "QSTASH_CURRENT_SIGNING_KEY": qstash.current_key,
        "QSTASH_NEXT_SIGNING_KEY": qstash.next_key,
        "DJANGO_QSTASH_DOMAIN": f"http://127.0.0.1:{port}",
        "DJANGO_QSTASH_TRANSPORT": "django_qstash.transport.http.HttpTransport",
        "DJANGO_QSTASH_LEASE": 2,
    }
    for name, value in values.items():
        setattr(settings, name, value)
    return {
        **os.environ,
        **{name: str(value) for name, value in values.items()},
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TESTS_DEBUG": "1",
        "TESTS_DATABASE": str(connection.settings_dict["NAME"]),
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def site(transactional_db, qstash, settings):
    """A site of two processes, started; the test sends tasks to it through ``qstash``."""
    port = free_port()
    found = Site(port, configure(settings, qstash, port))
    found.start()
    yield found
    found.kill()


def eventually(check, timeout: float = 20.0):
    """Wait until ``check()`` is true, and return what it returned."""
    deadline = time.monotonic() + timeout
    while not (value := check()):
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.05)
    return value
