"""Who may use the well-known development keys, and who has tried too often without any."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from django.conf import settings as django_settings
from django.core.cache import cache

from django_qstash import clock
from django_qstash.conf import (
    DEVELOPMENT_CURRENT_KEY,
    DEVELOPMENT_NEXT_KEY,
    development_defaults,
    settings,
    under_test,
)
from django_qstash.exceptions import ImproperlyConfigured, SignatureError
from django_qstash.transport import accounts
from django_qstash.transport.address import is_loopback

_WELL_KNOWN = frozenset({DEVELOPMENT_CURRENT_KEY, DEVELOPMENT_NEXT_KEY})
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
_RATE = re.compile(r"\s*(\d+)\s*/\s*(?:(\d+)\s*)?(s|m|h|d|second|minute|hour|day)s?\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def keys_for(peer: str, headers: Mapping[str, str]) -> Sequence[str]:
    """The signing keys that this peer's deliveries may be signed with.

    Those of the QSTASH_* settings come first, then those of DJANGO_QSTASH_ACCOUNTS: whichever
    account a letter went through, it comes in here.

    The development keys are public. With DEBUG, and in tests, they open the door to a peer on this
    very machine, that no proxy or tunnel speaks for; and, where a project in DEBUG names them
    itself, to the local network, in which a container's server stands. Raises
    :class:`SignatureError` where they open it not.
    """
    keys = [settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY]
    # One that is misspelt must not close the door for all others.
    for account in accounts.usable():
        keys += account.keys
    if not _WELL_KNOWN.intersection(keys):
        return keys
    if not any(name in headers for name in _FORWARDED):
        if is_loopback(peer) and (django_settings.DEBUG or under_test()):
            return keys
        if django_settings.DEBUG and not development_defaults() and _is_private(peer):
            return keys
    if secret := [key for key in keys if key and key not in _WELL_KNOWN]:
        return secret
    raise SignatureError(
        "The signing keys are the development server's, which everybody knows: they count with "
        "DEBUG alone, and from this machine. Set those of your QStash account."
    )


def count_unsigned(peer: str) -> int | None:
    """Count a request without a valid signature; seconds to wait if there were too many.

    Counted in Django's default cache, by address and by window of
    ``DJANGO_QSTASH_WEBHOOK_RATE_LIMIT``.
    """
    limit = settings.DJANGO_QSTASH_WEBHOOK_RATE_LIMIT
    if limit is None:
        return None
    allowed, window = parse_rate(limit)
    now = clock.time()
    key = f"django_qstash:unsigned:{peer}:{int(now // window)}"
    cache.add(key, 0, timeout=window)
    try:
        count = cache.incr(key)
    except ValueError:  # it expired between the two calls
        return None
    return max(1, int(window - now % window)) if count > allowed else None


def parse_rate(text: str) -> tuple[int, int]:
    """``"100/m"`` as (100, 60). Raises :class:`ImproperlyConfigured`."""
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) < 1 or (match[2] and int(match[2]) < 1):
        raise ImproperlyConfigured(
            f"DJANGO_QSTASH_WEBHOOK_RATE_LIMIT={text!r} is not a rate such as '100/m' or '10/s'."
        )
    return int(match[1]), int(match[2] or 1) * _SECONDS[match[3][0]]


def _is_private(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer.strip("[]"))
    except ValueError:
        return False
    return address.is_private or address.is_link_local
