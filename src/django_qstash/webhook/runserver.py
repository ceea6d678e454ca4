"""Under ``manage.py runserver`` with nothing configured, the embedded QStash server starts, too."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

from django_qstash.conf import DEVELOPMENT_URL, development_defaults, runserver_address
from django_qstash.devserver.probe import probe
from django_qstash.transport.address import PORT_VARIABLE, development_port

#: Set by Django's autoreloader in the process that it restarts on every change.
_RELOADED = "RUN_MAIN"
#: What was said last, for the processes that the autoreloader starts: they need not repeat it.
_SAID = "DJANGO_QSTASH_RUNSERVER_SAID"
#: Seconds to wait for it to answer.
PATIENCE = 10.0

#: Kept so that it is not reported as forgotten; it ends by itself when its keeper does.
_server: subprocess.Popen[bytes] | None = None


def start_embedded_server() -> None:
    """Start the server if this is ``runserver`` in development and nobody serves QStash yet.

    It is a process of its own that ends with the outermost ``runserver`` process, the
    autoreloader's parent, so that messages outlive a reload.
    """
    if runserver_address() is None or not development_defaults():
        return
    os.environ[PORT_VARIABLE] = str(development_port())
    found = probe(DEVELOPMENT_URL)
    if found == "qstash":
        return
    if found == "other":
        _say(
            f"Something that is not a QStash server answers at {DEVELOPMENT_URL}. Stop it, or set "
            "QSTASH_URL, QSTASH_TOKEN and the signing keys of the server you want."
        )
        return
    if importlib.util.find_spec("aiohttp") is None:
        _say(
            "To run tasks in development, install the embedded QStash server: "
            "pip install 'django-qstash[dev-server]'"
        )
        return
    keeper = os.getppid() if os.environ.get(_RELOADED) == "true" else os.getpid()
    port = urlsplit(DEVELOPMENT_URL).port
    global _server
    _server = subprocess.Popen(  # noqa: S603 - our own module, no user's text
        [
            sys.executable,
            "-m",
            "django_qstash.devserver",
            *("--port", str(port)),
            *("--parent-pid", str(keeper)),
            # It prints what to put into .env, and with that nothing would start by itself any more.
            "--quiet",
        ]
    )
    # Until it answers: the autoreloader's child looks for it in a moment, and would start another.
    deadline = time.monotonic() + PATIENCE
    while _server.poll() is None and time.monotonic() < deadline:
        if probe(DEVELOPMENT_URL) == "qstash":
            _say(f"The embedded QStash server runs at {DEVELOPMENT_URL}; open it in a browser.")
            return
        time.sleep(0.05)


def _say(text: str) -> None:
    if os.environ.get(_SAID) == text:
        return
    os.environ[_SAID] = text
    sys.stderr.write(f"django-qstash: {text}\n")
