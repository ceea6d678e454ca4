"""Who may publish, and what deliveries are signed with.

The credentials are the fixed ones of Upstash's own ``qstash dev``: public knowledge, so that every
SDK and every ``.env`` works at once, and worth nothing outside development.
"""

from __future__ import annotations

import hmac
import secrets
import string

from django_qstash.conf import DEVELOPMENT_CURRENT_KEY, DEVELOPMENT_NEXT_KEY, DEVELOPMENT_TOKEN

_ALPHABET = string.ascii_letters + string.digits


class Keys:
    """The token and the pair of signing keys."""

    def __init__(
        self,
        token: str = DEVELOPMENT_TOKEN,
        current: str = DEVELOPMENT_CURRENT_KEY,
        next: str = DEVELOPMENT_NEXT_KEY,  # noqa: A002 - QStash's word for it
    ) -> None:
        self.token = token
        self.current = current
        self.next = next

    def admits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def rotate(self) -> None:
        """The next key becomes the current one, and a new next one is made (QStash)."""
        self.current = self.next
        self.next = "sig_" + "".join(secrets.choice(_ALPHABET) for _ in range(28))
