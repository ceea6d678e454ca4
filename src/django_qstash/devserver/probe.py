"""Is there a QStash server on that address already? Standard library only, and quick."""

from __future__ import annotations

import http.client
import json
from typing import Literal
from urllib.parse import urlsplit

from django_qstash.conf import DEVELOPMENT_TOKEN

Found = Literal["qstash", "other", "nothing"]


def probe(url: str, *, timeout: float = 1.0) -> Found:
    """What answers at ``url``: a QStash server that takes the development token, something else
    (a QStash with other credentials, too), or nothing at all.

    Asks ``GET /v2/keys``, as the JavaScript SDK does. ``timeout`` in seconds, for each step.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    try:
        connection = connect(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    except ValueError:
        return "nothing"
    try:
        connection.connect()
    except OSError:
        return "nothing"
    try:
        path = parts.path.rstrip("/") + "/v2/keys"
        connection.request("GET", path, headers={"Authorization": f"Bearer {DEVELOPMENT_TOKEN}"})
        answer = connection.getresponse()
        keys = json.loads(answer.read(65536))
    except (OSError, ValueError, http.client.HTTPException):
        return "other"
    finally:
        connection.close()
    if answer.status == 200 and isinstance(keys, dict):
        values = (keys.get("current"), keys.get("next"))
        if all(isinstance(key, str) and key.startswith("sig_") for key in values):
            return "qstash"
    return "other"
