"""``make demo`` and ``make demo-check``, as a person at a terminal meets them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest

from tests.sample.demo import DEMO, SAMPLE, environment, free_port, running, wait_until

pytestmark = pytest.mark.processes


def run(*arguments, **variables):
    return subprocess.run(
        [sys.executable, str(DEMO), *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_check_presses_every_button_and_is_content():
    done = run("--check")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Charge the card (tok_declined): FAILURE" in done.stdout
    assert "The demo works." in done.stdout


def test_the_check_notices_a_task_that_does_not_do_its_work(tmp_path):
    import shutil

    broken = tmp_path / "sample_project"
    shutil.copytree(SAMPLE, broken, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
    tasks = broken / "orders" / "tasks.py"
    text = tasks.read_text()
    tasks.write_text(text.replace("reference = payments.charge", 'reference = "" or len'))
    assert tasks.read_text() != text

    done = subprocess.run(
        [sys.executable, str(broken / "demo.py"), "--check"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 1
    assert "WRONG Charge the card (tok_good) ended as FAILURE, not SUCCESS" in done.stdout


def test_the_demo_shows_one_round_trip_and_where_to_go(tmp_path):
    with running(tmp_path) as demo:
        with urlopen(demo.site, timeout=5) as answer:
            page = answer.read().decode()

        assert "send_receipt.delay(1).get()  ->  'Receipt sent to ada@example.com'" in demo.text
        assert f"{demo.site}/admin/   user admin, password admin" in demo.text
        assert "Order book" in page
        assert "Ada Byron" in page


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_demo(tmp_path, number):
    with running(tmp_path) as demo:
        status = demo.stop(number)

        assert wait_until(demo.is_gone)
        if number != signal.SIGKILL:
            assert status == 0
            assert demo.text.endswith("Stopped.\n")


def test_a_second_start_goes_on_with_the_data_of_the_first(tmp_path):
    with running(tmp_path):
        pass
    with running(tmp_path) as demo:
        assert "send_receipt.delay(1)" in demo.text


@pytest.mark.parametrize("variable", ["DEMO_PORT", "DEMO_QSTASH_PORT"])
def test_a_port_that_is_taken_is_one_clear_line(variable, tmp_path):
    ports = {"DEMO_PORT": str(free_port()), "DEMO_QSTASH_PORT": str(free_port())}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = run(**{**ports, variable: str(port), "DEMO_FOLDER": str(tmp_path)})

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"Port {port} cannot be had" in done.stderr
    assert f"make demo {variable}={port + 1}" in done.stderr


def test_a_port_that_is_none_is_one_clear_line(tmp_path):
    done = run(DEMO_PORT="http", DEMO_FOLDER=str(tmp_path))

    assert (done.returncode, done.stderr) == (1, "demo: DEMO_PORT='http' is not a port.\n")


def test_settings_of_the_shell_are_not_the_demos(tmp_path):
    """A production token in the environment must not be what the demo publishes with."""
    production = {
        "QSTASH_TOKEN": "production",
        "QSTASH_URL": "https://qstash.example",
        "QSTASH_CURRENT_SIGNING_KEY": "sig_production",
        "DJANGO_QSTASH_TRANSPORT": "no.such.Transport",
        "DJANGO_DEBUG": "False",
    }

    with running(tmp_path, **production) as demo:
        assert "send_receipt.delay(1).get()  ->" in demo.text
