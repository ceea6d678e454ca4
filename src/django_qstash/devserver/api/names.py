"""Names of queues, URL groups, schedules and flow-control keys: what QStash allows in them."""

from __future__ import annotations

import re

from django_qstash.devserver.refusal import bad_request

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


def checked(what: str, name: object) -> str:
    """``name``, if it can be one. Raises :class:`Refusal` 400."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad_request(
            f"invalid {what} name: it must be made of letters, digits, '-', '_' and '.'"
        )
    return name
