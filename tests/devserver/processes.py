"""The server as users start it: a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

SRC = Path(__file__).resolve().parents[2] / "src"


class ServerProcess:
    """``with ServerProcess("--db", file) as server``: ``url``, ``kill()``, ``end()``."""

    def __init__(self, *options: str, port: int = 0) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name != "DJANGO_SETTINGS_MODULE" and not name.startswith("QSTASH_")
        }
        command = [sys.executable, "-m", "django_qstash.devserver", "--port", str(port), *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": str(SRC)},
        )
        self.banner: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner.append(line.rstrip("\n"))
            if line.startswith("QSTASH_NEXT_SIGNING_KEY="):
                break
        else:
            assert self.process.stderr is not None
            errors = self.process.stderr.read()
            self._close()
            raise AssertionError(f"The server did not start: {errors}")
        self.environment = dict(line.split("=", 1) for line in self.banner[2:])
        self.url = self.environment["QSTASH_URL"]
        self.token = self.environment["QSTASH_TOKEN"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.kill()

    def kill(self) -> None:
        """As ``kill -9`` does."""
        if self.process.poll() is None:
            self.process.kill()
        self._close()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit status after that signal, and what it wrote to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors

    def _close(self) -> None:
        self.process.wait(timeout=10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
