"""SIGTERM: we learn of it, and the server's own handler stays in charge."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return answer.stdout + answer.stderr + f"exit {answer.returncode}"


def test_the_server_s_handler_is_called_after_deliveries_are_turned_away():
    said = run(
        """
        import os, signal
        from django_qstash.webhook import shutdown
        def of_the_server(number, frame):
            print("server's handler,", "accepting" if shutdown.accepting() else "turning away")
        signal.signal(signal.SIGTERM, of_the_server)
        print(shutdown.accepting())
        os.kill(os.getpid(), signal.SIGTERM)
        print(shutdown.accepting())
        """
    )
    assert said.split("\n") == ["True", "server's handler, turning away", "False", "exit 0"]


def test_without_a_handler_of_the_server_sigterm_ends_the_process_as_ever():
    said = run(
        """
        import os, signal
        from django_qstash.webhook import shutdown
        shutdown.accepting()
        os.kill(os.getpid(), signal.SIGTERM)
        print("still here")
        """
    )
    assert said == "exit -15"


def test_from_another_thread_nothing_is_changed():
    said = run(
        """
        import signal, threading
        from django_qstash.webhook import shutdown
        handler = lambda *args: None
        signal.signal(signal.SIGTERM, handler)
        thread = threading.Thread(target=shutdown.accepting)
        thread.start(); thread.join()
        print(signal.getsignal(signal.SIGTERM) is handler)
        """
    )
    assert said == "True\nexit 0"
