"""Which pages in a browser may talk to the server: its own, and no other site's.

The credentials are public, so without this any page that a developer visits could publish
messages, and read what waits here, through the developer's own browser.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection

#: Names that no public name server can point somewhere else (DNS rebinding).
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".test")


def is_local_name(host: str, allowed: Collection[str] = ()) -> bool:
    """Whether a ``Host`` header can be trusted to be what the user typed."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    if name in allowed:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_LOCAL_SUFFIXES))
    return True


def is_foreign(origin: str, host: str, allowed: Collection[str] = ()) -> bool:
    """Whether a request with these headers comes from a page of another site.

    Programs send no ``Origin``, and are not meant.
    """
    if not origin:
        return False
    try:
        netloc = urlsplit(origin).netloc.lower()
    except ValueError:
        return True
    return netloc != host.lower() or not is_local_name(host, allowed)
