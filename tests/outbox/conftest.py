"""Every test here has the outbox app installed."""

from __future__ import annotations

import pytest

from django_qstash.transport import get_transport


@pytest.fixture
def rows(outbox_app):
    """The letters that QStash does not have yet."""
    return outbox_app.objects


@pytest.fixture
def qstash(settings):
    """A transport that keeps what it is given, and can be taken down."""
    settings.DJANGO_QSTASH_TRANSPORT = "tests.outbox.transports.Moody"
    return get_transport()
