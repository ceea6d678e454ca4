"""The server as a process: banner, signals, options, and what is said when it cannot start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from django_qstash.devserver import cli
from django_qstash.devserver.__main__ import main
from django_qstash.devserver.probe import probe
from tests.devserver.processes import SRC, ServerProcess
from tests.devserver.receiver import Answers, Receiver

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.processes


def start(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A start that must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "django_qstash.devserver", *options],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC), **environment},
    )


def test_the_banner_is_for_people_sdks_and_programs():
    with ServerProcess("--quiet") as server:
        assert re.search(r"runn+ing( at|\.)", server.banner[0])
        assert server.url in server.banner[0]
        assert list(server.environment) == [
            "QSTASH_URL",
            "QSTASH_TOKEN",
            "QSTASH_CURRENT_SIGNING_KEY",
            "QSTASH_NEXT_SIGNING_KEY",
        ]
        assert httpx.get(server.url + "/healthz").json()["status"] == "ok"
        assert probe(server.url) == "qstash"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_though_calls_and_dashboards_are_open(number):
    with Receiver() as receiver, ServerProcess("--quiet") as server:
        receiver.answer = lambda got: time.sleep(3) or Answers()
        headers = {"Authorization": f"Bearer {server.token}"}
        httpx.post(f"{server.url}/v2/publish/{receiver.url}", headers=headers)
        receiver.wait(1)
        with httpx.stream("GET", server.url + "/_dev/stream", headers=headers) as stream:
            next(stream.iter_lines())
            begun = time.monotonic()
            status, errors = server.end(number)
        assert (status, errors) == (0, "")
        assert time.monotonic() - begun < 2.5


def test_it_ends_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with ServerProcess("--quiet", "--parent-pid", str(parent.pid)) as server:
        time.sleep(0.7)
        assert server.process.poll() is None
        # Dead, though nobody has collected its status.
        parent.kill()
        assert server.process.wait(timeout=5) == 0
    parent.communicate()


def test_a_port_that_a_qstash_has_is_said_to_be_used_already():
    with ServerProcess("--quiet") as server:
        port = server.url.rpartition(":")[2]
        done = start("--port", port)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"A QStash server is running on 127.0.0.1:{port} already; use it, or choose --port.\n"
    )


def test_a_port_that_anything_else_has_is_said_to_be_taken():
    with Receiver() as receiver:
        port = receiver.url.rpartition(":")[2]
        done = start("--port", port)
        assert probe(receiver.url) == "other"
    assert done.returncode == 1
    assert done.stderr == f"Port {port} on 127.0.0.1 is taken; choose another with --port.\n"


def test_a_port_that_is_silent_is_something_else_and_no_port_is_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert probe(f"http://127.0.0.1:{port}", timeout=0.2) == "other"
    assert probe(f"127.0.0.1:{port}") == "nothing"
    assert probe("http://no-such-host.invalid:1") == "nothing"
    assert probe("http://127.0.0.1:99999") == "nothing"


def test_without_aiohttp_one_line_says_what_to_install(tmp_path: Path):
    # An interpreter in which aiohttp cannot be found: a finder in front of all others says so.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'aiohttp':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    done = start(PYTHONPATH=f"{tmp_path}{os.pathsep}{SRC}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'django-qstash[dev-server]'" in done.stderr


def test_it_needs_no_django_settings_and_the_state_no_aiohttp():
    code = (
        "import sys, django_qstash.devserver.state, django_qstash.devserver.api as a, "
        "django_qstash.devserver.setup, django_qstash.devserver.cli; "
        "from django.conf import settings; "
        "assert not settings.configured; assert 'aiohttp' not in sys.modules"
    )
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**environment, "PYTHONPATH": str(SRC)}
    )


def test_a_journal_that_cannot_be_used_is_one_line(tmp_path: Path):
    (tmp_path / "text").write_text("no database " * 1000)
    for name in ("text", "none/journal"):
        done = start("--port", "0", "--db", str(tmp_path / name))
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert name in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "x"],
        ["--port", "65536"],
        ["--map-host", "example.com"],
        ["--map-host", "example.com=ftp://x"],
        ["--retry-scale", "-1"],
        ["--retry-scale", "nan"],
        ["--parallelism", "0"],
        ["--duplicate", "2"],
        ["--extra-delay-by", "soon"],
        ["--refuse-with", "teapot"],
        ["--plan", "gold"],
        ["--parent-pid", "-1"],
    ],
)
def test_an_option_that_means_nothing_is_refused(options, capsys):
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_the_management_command_has_the_same_options():
    from django.core.management import load_command_class

    command = load_command_class("django_qstash", "qstash_dev")
    parser = command.create_parser("manage.py", "qstash_dev")
    options = vars(parser.parse_args(["--port", "0", "--duplicate", "0.5", "--db", "x"]))
    assert cli.knobs(options).duplicate == 0.5
    assert (options["port"], options["db"], options["retry_scale"]) == (0, "x", 1.0)


def test_hosts_are_mapped_and_the_signature_names_the_published_one():
    with Receiver() as receiver:
        options = ("--map-host", f"shop.example.com={receiver.url}")
        with ServerProcess(*options) as server:
            headers = {"Authorization": f"Bearer {server.token}"}
            url = "https://shop.example.com/hook?x=1"
            httpx.post(f"{server.url}/v2/publish/{url}", headers=headers, content=b"x")
            (got,) = receiver.wait(1)
            status, log = server.end()
    assert status == 0
    assert (got.path, got.headers["host"]) == ("/hook?x=1", "shop.example.com")
    got.url = url
    from tests.devserver.receiver import verify

    verify(got, server.environment["QSTASH_CURRENT_SIGNING_KEY"], now=time.time())
    (line,) = [line for line in log.splitlines() if "state=DELIVERED" in line]
    assert re.match(
        r"ts=\S+ level=INFO logger=\S+ message=msg_\S+ state=DELIVERED attempt=1 ", line
    )


def test_the_options_reach_the_server():
    with Receiver() as receiver:
        receiver.answer = lambda got: Answers(500)
        with ServerProcess(
            "--quiet", "--retry-scale", "0.0002", "--plan", "free", "--parallelism", "3"
        ) as server:
            headers = {"Authorization": f"Bearer {server.token}"}
            httpx.post(f"{server.url}/v2/publish/{receiver.url}", headers=headers)
            # Three retries, which take half an hour at their own pace.
            receiver.wait(4)
            limit = httpx.get(server.url + "/v2/globalParallelism", headers=headers).json()
            assert limit["parallelismMax"] == 3
            late = {**headers, "Upstash-Delay": "8d"}
            answer = httpx.post(f"{server.url}/v2/publish/{receiver.url}", headers=late)
            assert answer.json() == {"error": "quota maxDelay exceeded, current limit: 604800"}
