"""On SIGTERM, what runs is finished and the rest is told to come again; the server's own handler
stays in charge."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from django_qstash.tasks import process

_stopping = False
_watching = False


def accepting() -> bool:
    """False once this process was told to stop: deliveries are then to come again elsewhere."""
    if not _watching:
        watch()
    return not _stopping


def watch() -> None:
    """Learn of SIGTERM, in front of the handler that the server has installed.

    Only from the main thread, where Python lets signals be handled, and only if a server has a
    handler of its own: without one, SIGTERM ends the process at once, and so it stays. A server
    that installs its handler later replaces ours, and then simply stops as it always does.
    """
    global _watching
    if _watching or threading.current_thread() is not threading.main_thread():
        return
    previous = signal.getsignal(signal.SIGTERM)
    if not callable(previous):
        return

    def on_term(number: int, frame: FrameType | None) -> Any:
        global _stopping
        _stopping = True
        process.stopping("SIGTERM")
        return previous(number, frame)

    signal.signal(signal.SIGTERM, on_term)
    _watching = True
