"""The public address of our own door: where letters go, and what signatures are checked against."""

from __future__ import annotations

import ipaddress
import os
import re
from functools import lru_cache
from urllib.parse import urlsplit

from django_qstash.conf import development_defaults, runserver_address, settings
from django_qstash.exceptions import ImproperlyConfigured

#: Handed from ``runserver`` to what it starts, so that all know which port serves the site.
PORT_VARIABLE = "DJANGO_QSTASH_RUNSERVER_PORT"

# What HTTP clients leave alone in an address; steps such as "/../" they take at once.
_NO_STEPS = r"(?!(?:.*/)?\.\.?(?:/|\Z))"
_PATH = re.compile(_NO_STEPS + r"/[A-Za-z0-9._~/-]*")
_PLAIN = re.compile(_NO_STEPS + r"(?:[A-Za-z0-9._~/:@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})+(?<!:)")


def webhook_url() -> str:
    """The absolute address of the webhook.

    Raises :class:`ImproperlyConfigured`, saying what to write, if there is none or it is malformed.
    """
    return _join(
        domain(),
        settings.DJANGO_QSTASH_WEBHOOK_PATH,
        settings.DJANGO_QSTASH_FORCE_HTTPS,
    )


def site_url(path: str) -> str:
    """The absolute address of another path of this site, as QStash would be told it.

    Raises :class:`ImproperlyConfigured` as :func:`webhook_url` does.
    """
    return _join(domain(), path, settings.DJANGO_QSTASH_FORCE_HTTPS)


def callback_url(purpose: str) -> str:
    """The webhook's address for QStash's failure callbacks; the query is part of what is signed."""
    return f"{webhook_url()}?callback={purpose}"


def domain() -> str:
    """The site's public address as configured, or the development server's; maybe ``""``."""
    configured = settings.DJANGO_QSTASH_DOMAIN
    if configured or not development_defaults():
        return configured
    served = runserver_address() or ""
    host = "[::1]" if served.startswith("[::1]:") else "127.0.0.1"
    return f"http://{host}:{development_port()}"


def development_port() -> int:
    """The port that ``runserver`` serves, 8000 where this process cannot know it."""
    served = runserver_address()
    port = served.rpartition(":")[2] if served else os.environ.get(PORT_VARIABLE, "")
    return int(port) if port.isdecimal() else 8000


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1, with or without brackets."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


@lru_cache(maxsize=32)
def _join(configured: str, path: str, force_https: bool) -> str:
    if not configured:
        raise ImproperlyConfigured(
            "DJANGO_QSTASH_DOMAIN is not set: QStash has to know where this site is. Set it to the "
            "site's public address, such as https://example.com (for local development see "
            "'manage.py qstash_dev')."
        )
    if not _PATH.fullmatch(path):
        raise ImproperlyConfigured(
            f"DJANGO_QSTASH_WEBHOOK_PATH={path!r} must begin with a slash and hold nothing but "
            "letters, digits, slashes and -._~, such as '/qstash/webhook/'."
        )
    scheme, host, rest = _split(configured)
    if scheme == "http" and force_https and not is_loopback(host):
        scheme = "https"
    return f"{scheme}://{rest}{path}"


def _split(configured: str) -> tuple[str, str, str]:
    """Scheme, host, and all after the ``//`` of the site's address."""
    text = configured.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"DJANGO_QSTASH_DOMAIN={configured!r}: {error}.") from None
    scheme = parts.scheme or ("http" if is_loopback(host) else "https")
    rest = (parts.netloc + parts.path).rstrip("/")
    # An address must reach QStash as it is: what clients would escape, it would sign escaped.
    plain = _PLAIN.fullmatch(rest) and not parts.query and not parts.fragment
    if scheme not in ("http", "https") or not host or port == 0 or not plain:
        raise ImproperlyConfigured(
            f"DJANGO_QSTASH_DOMAIN={configured!r} is not an address such as https://example.com "
            "(other alphabets are written as xn--…)."
        )
    return scheme, host, rest
