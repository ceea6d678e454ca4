"""The demo of the sample project, started as ``make demo`` starts it, on ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_project"
DEMO = SAMPLE / "demo.py"
PATIENCE = 60


def environment(**more):
    """This process's, without what the tests have set for themselves."""
    mine = {name: value for name, value in os.environ.items() if "QSTASH" not in name}
    mine.pop("DJANGO_SETTINGS_MODULE", None)
    return mine | more


def free_port():
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return attempt.getsockname()[1]


def answers(port):
    with socket.socket() as attempt:
        attempt.settimeout(0.5)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_so, *, patience=10):
    deadline = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Running:
    """A demo that runs, and what it has printed."""

    def __init__(self, folder, **variables):
        self.port, self.qstash_port = free_port(), free_port()
        self.site = f"http://127.0.0.1:{self.port}"
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(DEMO)],
                env=environment(
                    DEMO_PORT=str(self.port),
                    DEMO_QSTASH_PORT=str(self.qstash_port),
                    DEMO_FOLDER=str(folder / "demo"),
                    **variables,
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def text(self):
        return self.output.read_text(encoding="utf-8", errors="replace")

    def is_ready(self):
        assert self.process.poll() is None, self.text
        return "Ready after" in self.text

    def is_gone(self):
        return not answers(self.port) and not answers(self.qstash_port)

    def stop(self, number=signal.SIGTERM):
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def running(folder, **variables):
    """A demo that is ready, and ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = Running(folder, **variables)
    try:
        assert wait_until(demo.is_ready, patience=PATIENCE), demo.text
        yield demo
    finally:
        demo.stop()
