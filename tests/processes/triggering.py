"""Processes that trigger runs, each of them killed one moment later than the one before.

A moment is before each statement and commit, and before and after each publish.
"""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path

import django
from django.db import connections, transaction

from tests.processes.forking import Bomb, Dying, warm


def main(port: int) -> None:
    """Trigger runs named after their moments, until one process lives; twice, see the test."""
    django.setup()
    warm()
    for kind in ("alone", "within"):
        at = 0
        while _dies(port, kind, at + 1):
            at += 1
        Path(os.environ["TESTS_DEATHS"], kind).write_text(str(at))


def _dies(port: int, kind: str, at: int) -> bool:
    """True if the process that triggers the run was killed at that moment."""
    directory = Path(os.environ["TESTS_DEATHS"])
    (directory / f"{port}.at").write_text(str(at))
    (directory / str(port)).unlink(missing_ok=True)
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    try:
        _trigger(port, kind, at)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _trigger(port: int, kind: str, at: int) -> None:
    from tests.shop.workflows import atomic_note

    bomb = Dying.bomb = Bomb(port)
    bomb.arm()
    name = f"{kind}-{at}"
    if kind == "alone":
        atomic_note.trigger({"text": name}, run_id=name)
    else:
        with transaction.atomic():
            atomic_note.trigger({"text": name}, run_id=name)
    connections.close_all()
