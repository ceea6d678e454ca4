"""The page at ``/``: plain files, no build step, nothing from other hosts."""

from __future__ import annotations

import html
from functools import cache
from importlib import resources

from django_qstash.devserver.api.call import Reply

_TYPES = {"page.js": "text/javascript", "style.css": "text/css"}

#: The page runs its own script and style, talks to its own server, and stands in no frame.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@cache
def _file(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def page(environment: dict[str, str]) -> Reply:
    """The page; it learns the token and what to put into ``.env`` from its own markup."""
    lines = "\n".join(f"{name}={value}" for name, value in environment.items())
    text = _file("page.html")
    text = text.replace("{{token}}", html.escape(environment["QSTASH_TOKEN"]))
    text = text.replace("{{url}}", html.escape(environment["QSTASH_URL"]))
    text = text.replace("{{environment}}", html.escape(lines))
    return Reply(body=text.encode(), content_type="text/html", headers=dict(_HEADERS))


def asset(name: str) -> Reply | None:
    """The script or the style sheet; ``None`` for any other name."""
    if name not in _TYPES:
        return None
    return Reply(body=_file(name).encode(), content_type=_TYPES[name], headers=dict(_HEADERS))
