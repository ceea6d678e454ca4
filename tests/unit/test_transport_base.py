"""The transport in use is the class that a setting names."""

from __future__ import annotations

import pytest
from django.test import override_settings

from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.transport import get_transport
from django_qstash.transport.http import HttpTransport
from django_qstash.transport.local import Loopback, Outbox

CALLS = ("publish", "batch", "cancel", "prepare_queue", "request")


class Closing(Outbox):
    closed = 0

    def close(self):
        type(self).closed += 1


def use(path: str):
    return override_settings(DJANGO_QSTASH_TRANSPORT=path)


def test_it_is_made_once():
    with use("django_qstash.transport.local.Outbox"):
        assert isinstance(get_transport(), Outbox)
        assert get_transport() is get_transport()


def test_another_setting_is_another_transport():
    with use("django_qstash.transport.local.Outbox"):
        outbox = get_transport()
        with use("django_qstash.transport.local.Loopback"):
            assert isinstance(get_transport(), Loopback)
        assert isinstance(get_transport(), Outbox)
        assert get_transport() is not outbox


def test_by_default_letters_leave_over_http(settings):
    del settings.DJANGO_QSTASH_TRANSPORT

    assert isinstance(get_transport(), HttpTransport)


def test_it_stays_while_other_settings_change():
    with use("django_qstash.transport.local.Outbox"):
        outbox = get_transport()
        with override_settings(QSTASH_TOKEN="another", QSTASH_URL="http://127.0.0.1:1"):
            assert get_transport() is outbox


def test_one_that_is_given_up_is_closed():
    before = Closing.closed
    with use(f"{__name__}.Closing"):
        get_transport()

    assert Closing.closed == before + 1


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere", "cannot be imported"),
        ("nowhere.Transport", "cannot be imported"),
        ("django_qstash.transport.http.Nothing", "cannot be imported"),
        ("django_qstash.transport.http", "is no class"),
        ("django_qstash.transport.get_transport", "is no class"),
    ],
)
def test_what_is_no_class_is_named(path, problem):
    with use(path), pytest.raises(ImproperlyConfigured) as raised:
        get_transport()

    assert str(raised.value).startswith(f"DJANGO_QSTASH_TRANSPORT={path!r} {problem}")


@pytest.mark.parametrize("kind", [HttpTransport, Outbox, Loopback])
@pytest.mark.parametrize("call", CALLS)
def test_the_real_one_and_its_peers_can_do_the_same(kind, call):
    assert callable(getattr(kind(), call))
