"""The official JavaScript SDK on Node, over every call that it has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.devserver.processes import ServerProcess
from tests.devserver.receiver import Answers, Receiver

FOLDER = Path(__file__).with_name("javascript")


def _install() -> None:
    """Get the SDK from the registry, once; without Node or the registry the test is skipped."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed")
    if (FOLDER / "node_modules" / "@upstash" / "qstash").is_dir():
        return
    command = ["npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1"]
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False
    )
    if done.returncode:
        pytest.skip(f"npm could not install the SDK: {done.stderr.strip()[-300:]}")


@pytest.mark.processes
def test_the_javascript_sdk_drives_every_endpoint():
    _install()
    with Receiver() as receiver, ServerProcess("--quiet") as server:
        receiver.answer = lambda got: (
            Answers(404, {}, b"not here") if got.path == "/fail" else Answers()
        )
        url = f"{receiver.url}/signed?x=1"
        token = {"Authorization": f"Bearer {server.token}"}
        httpx.post(f"{server.url}/v2/publish/{url}", content=b'{"a":1}', headers=token)
        (got,) = receiver.wait(1)
        delivery = {
            "signature": got.headers["upstash-signature"],
            "body": got.body.decode(),
            "url": url,
        }
        done = subprocess.run(
            ["node", "walk.mjs"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={
                **os.environ,
                **server.environment,
                "DESTINATION": receiver.url,
                "DELIVERY": json.dumps(delivery),
            },
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 13
