"""Where deliveries are to arrive, and whether they can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.http.request import validate_host
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string

from django_qstash import conf
from django_qstash.checks.configured import TAG, value_of
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.transport.address import domain, is_loopback, webhook_url

VIEW = "django_qstash.webhook.views.qstash_webhook_view"


@register(TAG)
def check_address(**_: Any) -> list[CheckMessage]:
    """E002 no address; W005 no https; E003 a path that does not lead to our view."""
    return list(_address())


def _address() -> Iterator[CheckMessage]:
    configured = _domain()
    if configured is None or (not configured and value_of("DJANGO_QSTASH_ALWAYS_EAGER")):
        return
    try:
        url = webhook_url()
    except ImproperlyConfigured as error:
        # Without any domain, direct calls and eager tasks still work: no reason to stop manage.py.
        kind, number = (Error, "E002") if configured else (Warning, "W010")
        yield kind(str(error), id=f"django_qstash.{number}")
        return
    host = urlsplit(url).hostname or ""
    allowed = django_settings.ALLOWED_HOSTS or (
        [".localhost", "127.0.0.1", "[::1]"] if django_settings.DEBUG else []
    )
    if not conf.under_test() and not validate_host(host, allowed):
        yield Warning(
            f"ALLOWED_HOSTS does not allow {host!r}, the host of DJANGO_QSTASH_DOMAIN: Django will "
            "answer every delivery with 400.",
            hint=f"Add {host!r} to ALLOWED_HOSTS.",
            id="django_qstash.W014",
        )
    if url.startswith("http://") and not is_loopback(host) and not django_settings.DEBUG:
        yield Warning(
            f"DJANGO_QSTASH_DOMAIN={configured!r} is not https, so anyone on the way can read what "
            "is delivered.",
            hint="Use https://, and leave DJANGO_QSTASH_FORCE_HTTPS on.",
            id="django_qstash.W005",
        )
    yield from _path()


def _path() -> Iterator[CheckMessage]:
    path: str = value_of("DJANGO_QSTASH_WEBHOOK_PATH")
    try:
        view = resolve(path).func
    except Resolver404:
        view = None
    except Exception:  # noqa: BLE001 - a broken URLconf has checks of its own
        return
    if view is not import_string(VIEW):
        found = "nothing" if view is None else f"{view.__module__}.{view.__name__}"
        yield Error(
            f"DJANGO_QSTASH_WEBHOOK_PATH={path!r} leads to {found}, not to our view, so no "
            "delivery can arrive.",
            hint=(
                f'Add path("{path.lstrip("/")}", include("django_qstash.urls")) to the root '
                "URLconf, or set the path at which you have included it."
            ),
            id="django_qstash.E003",
        )


def _domain() -> str | None:
    try:
        return domain()
    except ImproperlyConfigured:
        return None
