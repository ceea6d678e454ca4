"""QStash in virtual time, shared with the site."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from django_qstash import clock
from django_qstash.clock import VirtualClock
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.transport import get_transport

#: A Saturday two weeks before Berlin's clocks go back.
BEGIN = datetime(2026, 10, 10, tzinfo=timezone.utc)


@pytest.fixture
def virtual():
    """The time of the whole process; it moves when it is told to."""
    with clock.use(VirtualClock(BEGIN.timestamp())) as shared:
        yield shared


@pytest.fixture
def qstash(virtual, settings):
    """The embedded server, and a site at shop.example.com that talks to it over HTTP."""
    with EmbeddedServer(clock=virtual) as server:
        settings.QSTASH_URL = server.url
        settings.QSTASH_TOKEN = server.token
        settings.QSTASH_CURRENT_SIGNING_KEY = server.current_key
        settings.QSTASH_NEXT_SIGNING_KEY = server.next_key
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        settings.DJANGO_QSTASH_PUBLISH_RETRIES = 0
        yield server
        get_transport().close()


@pytest.fixture
def kept(loopback):
    """The Loopback transport's schedules, which fire when a test says so."""
    loopback.schedules.clear()
    loopback.answers.clear()
    return loopback


def there(server):
    """What QStash has, by id: whether it is paused, its cron expression, and where it fires."""
    return server.ask(
        lambda state: {
            each.id: (each.paused, each.cron.text, each.destination) for each in state.schedules
        }
    )
