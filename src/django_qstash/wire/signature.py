"""QStash's signature: an HS256 JWT over the address and the hash of the body.

Signing serves the embedded server and the tests; verifying is what the webhook stands on. The SDK's
own receiver is not used: its clock tolerance has no effect, and it cannot hash bytes that are not
UTF-8.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import jwt

from django_qstash.exceptions import SignatureError

ISSUER = "Upstash"
#: QStash's tokens live for five minutes.
LIFETIME = 300
#: No instant is as far away: the year 33658.
_FOREVER = 1e12
_CLOCKS = "Compare the clocks, or see DJANGO_QSTASH_CLOCK_TOLERANCE."

_OPTIONS: Any = {
    "require": ["iss", "sub", "exp", "nbf"],
    # The instants are compared here, by the clock that is handed in.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
}


def body_hash(body: bytes) -> str:
    """The ``body`` claim: URL-safe base64 of the SHA-256 of the raw body, padded."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode("ascii")


def sign(body: bytes, *, url: str, key: str, now: float) -> str:
    """A token for one delivery of ``body`` to ``url``, issued at ``now`` (seconds)."""
    issued = int(now)
    claims = {
        "iss": ISSUER,
        "sub": url,
        "exp": issued + LIFETIME,
        # Zero since September 2024, so that clocks that differ do no harm (QStash changelog).
        "nbf": 0,
        "iat": issued,
        "jti": f"jwt_{secrets.token_urlsafe(21)}",
        "body": body_hash(body),
    }
    return jwt.encode(claims, key, algorithm="HS256")


def verify(
    token: str, body: bytes, *, url: str, keys: Sequence[str], now: float, tolerance: float = 0
) -> None:
    """Return if QStash signed these bytes for this address with one of ``keys``.

    Raises :class:`SignatureError`, whose text says what does not fit; without any key, always.
    """
    claims = _decode(token, [key for key in keys if key])
    if claims["sub"] != url:
        raise SignatureError(
            f"It was signed for {claims['sub']!r}, and this address is {url!r}. "
            "Compare DJANGO_QSTASH_DOMAIN and DJANGO_QSTASH_WEBHOOK_PATH with the address "
            "that the message was published to."
        )
    if str(claims.get("body")).rstrip("=") != body_hash(body).rstrip("="):
        raise SignatureError("The body is not the one that was signed.")
    late = now - _instant(claims, "exp")
    if late > tolerance:
        raise SignatureError(f"The signature expired {late:.0f} s ago. {_CLOCKS}")
    early = max(_instant(claims, "nbf"), _instant(claims, "iat") if "iat" in claims else 0) - now
    if early > tolerance:
        raise SignatureError(f"The signature is from the future, by {early:.0f} s. {_CLOCKS}")


def _decode(token: str, keys: Sequence[str]) -> dict[str, Any]:
    if not keys:
        raise SignatureError(
            "No signing key is configured, so no delivery can be believed. Set "
            "QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY."
        )
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=["HS256"], issuer=ISSUER, options=_OPTIONS)
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise SignatureError(f"The signature cannot be read: {error}.") from None
    raise SignatureError(
        "It was signed with neither the current nor the next signing key. Compare "
        "QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY with the Upstash console."
    )


def _instant(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    # Nothing but a finite number can be compared, and what compares wrongly would never expire.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _FOREVER:
        raise SignatureError(f"The claim {name!r} is no instant.")
    return float(value)
