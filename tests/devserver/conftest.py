from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from qstash import QStash

from django_qstash.clock import VirtualClock
from django_qstash.devserver.embedded import EmbeddedServer
from tests.devserver.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server(clock: VirtualClock) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(clock=clock) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@contextmanager
def sdk(server: EmbeddedServer) -> Iterator[QStash]:
    client = QStash(server.token, base_url=server.url, retry=False)
    try:
        yield client
    finally:
        # The SDK has no way to close its connections; left open they are a warning.
        client.http._client.close()


@pytest.fixture
def qstash(server: EmbeddedServer) -> Iterator[QStash]:
    with sdk(server) as client:
        yield client
