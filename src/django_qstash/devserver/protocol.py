"""HTTP as far as aiohttp leaves it to us: what is answered to bytes that are no request."""

from __future__ import annotations

import asyncio
import json
import logging

from aiohttp import web

_log = logging.getLogger("django_qstash.devserver.http")

#: What a client does wrong after its request line: a body that breaks off or is none.
CLIENT_FAULTS = (web.RequestPayloadError, ConnectionError)


def _is_ours(record: logging.LogRecord) -> bool:
    """aiohttp reports a body that breaks off once more, with a traceback of its own."""
    return not (record.exc_info and isinstance(record.exc_info[1], CLIENT_FAULTS))


_log.addFilter(_is_ours)


class Protocol(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Say what is wrong as every other answer does, and close the connection."""
        if isinstance(exc, CLIENT_FAULTS):
            status, message = 400, "the request's body cannot be read"
        if status >= 500:
            _log.error("A request could not be answered", exc_info=exc)
            text = "internal server error"
        else:
            text = " ".join((message or "bad request").split())[:200]
            _log.info("status=%d error=%s", status, json.dumps(text))
        response = web.Response(
            status=status,
            body=json.dumps({"error": text}).encode(),
            content_type="application/json",
        )
        response.force_close()
        return response


class Listener(web.Server):
    """Makes a :class:`Protocol` of every connection."""

    def __call__(self) -> Protocol:
        return Protocol(self, loop=asyncio.get_running_loop(), logger=_log, **self._kwargs)


async def invite_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it (curl, with a large body) to send the body."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
