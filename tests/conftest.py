"""Fixtures: the seams that tests stand on instead of patches."""

from __future__ import annotations

import asyncio

import hypothesis
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.db import connection, connections
from django.test import override_settings

from django_qstash import clock
from django_qstash.tasks.registry import tasks as registry
from django_qstash.transport import get_transport
from tests import soak

# A crowded machine is no reason to fail: speed lives in benchmarks.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_report_header():
    return f"drawn by lot: SOAK={soak.FACTOR} SEED={soak.SEED}"


#: What a test asks for that has to do with the database.
ABOUT_THE_DATABASE = {"db", "transactional_db", "django_db_setup"}


def pytest_collection_modifyitems(config, items):
    """On PostgreSQL and MariaDB, leave out what touches no database: SQLite's run has shown it."""
    if connection.vendor == "sqlite":
        return
    kept = [item for item in items if _is_about_the_database(item)]
    config.hook.pytest_deselected(
        items=[item for item in items if not _is_about_the_database(item)]
    )
    items[:] = kept


def _is_about_the_database(item):
    marks = ("django_db", "processes")
    return any(map(item.get_closest_marker, marks)) or ABOUT_THE_DATABASE & {*item.fixturenames}


@pytest.fixture
def outbox(settings):
    """A transport that keeps what is published."""
    settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Outbox"
    transport = get_transport()
    transport.sent.clear()
    return transport


@pytest.fixture
def loopback(settings):
    """A transport that delivers to our own door at once."""
    settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Loopback"
    return get_transport()


@pytest.fixture
def virtual():
    """The time of the whole process; it moves when it is told to."""
    with clock.use(clock.VirtualClock()) as shared:
        yield shared


@pytest.fixture
def embedded(virtual, live_server, settings):
    """The embedded QStash, on the test's own clock, over HTTP; it delivers to the test's server."""
    # Here, since tests are searched for tasks on a site without aiohttp as well.
    from django_qstash.devserver.embedded import EmbeddedServer

    with EmbeddedServer(clock=virtual) as server:
        settings.DJANGO_QSTASH_DOMAIN = live_server.url
        settings.QSTASH_URL, settings.QSTASH_TOKEN = server.url, server.token
        settings.QSTASH_CURRENT_SIGNING_KEY = server.current_key
        settings.QSTASH_NEXT_SIGNING_KEY = server.next_key
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        yield server
        get_transport().close()


@pytest.fixture
def tidy_registry():
    """What a test registers is forgotten with it."""
    names = set(registry)
    yield
    for name in set(registry) - names:
        registry.unregister(name)


OUTBOX_APP = "django_qstash.outbox"


@pytest.fixture(scope="session", autouse=True)
def known_features(django_db_blocker):
    """Django's check of JSON columns asks SQLite once; a test without one must not."""
    if connection.vendor == "sqlite":
        with django_db_blocker.unblock():
            assert connection.features.supports_json_field
            connection.close()


@pytest.fixture(scope="session")
def optional_apps():
    """The apps that most tests do without, installed while the tables are made."""
    override = override_settings(
        INSTALLED_APPS=list(dict.fromkeys([*django_settings.INSTALLED_APPS, OUTBOX_APP]))
    )
    override.enable()
    return override


@pytest.fixture(scope="session")
def django_db_setup(optional_apps, django_db_setup, django_db_blocker):
    """Leave the database only when all have let go of it: PostgreSQL drops none that is in use."""
    optional_apps.disable()
    yield
    with django_db_blocker.unblock():
        # asgiref's thread for synchronous code outlives every event loop.
        asyncio.run(sync_to_async(connections.close_all)())


@pytest.fixture
def outbox_app(settings, db):
    """The outbox app is installed, and empty."""
    from django_qstash.outbox.models import OutgoingMessage

    settings.INSTALLED_APPS = list(dict.fromkeys([*settings.INSTALLED_APPS, OUTBOX_APP]))
    yield OutgoingMessage
    OutgoingMessage.objects.using("default").all().delete()
