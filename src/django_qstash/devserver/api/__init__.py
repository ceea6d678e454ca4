"""QStash's HTTP API: one request in, one answer out, whatever the request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_qstash.devserver.api import routes
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.refusal import Refusal
from django_qstash.devserver.request import token_in_query

if TYPE_CHECKING:
    from django_qstash.devserver.state import State

__all__ = ["Call", "Reply", "answer", "authenticate"]

_log = logging.getLogger(__name__)


def answer(state: State, call: Call) -> Reply:
    """Answer one request of the API; every refusal and every fault of ours is an answer too."""
    try:
        authenticate(state, call)
        handler, call = routes.find(call)
        return handler(state, call)
    except Refusal as refusal:
        return Reply.refused(refusal)
    except Exception:  # noqa: BLE001 - logged, and the client must not wait for ever
        _log.exception("A request could not be answered: %s %s", call.method, call.target[:200])
        return Reply.refused(Refusal(500, "internal server error"))


def authenticate(state: State, call: Call) -> None:
    """Raises :class:`Refusal` 401 unless the request bears the token."""
    if not state.keys.admits(_token(call)):
        raise Refusal(401, "unable to authenticate: invalid token")


def _token(call: Call) -> str:
    """The bearer token, or the one in the query string. Source: the OpenAPI description."""
    scheme, _, token = call.header("authorization").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return token_in_query(call.target)
