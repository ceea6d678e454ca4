"""The server: an address, a state behind it, and deliveries out of it; started and stopped."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from django_qstash.devserver import api, dashboard
from django_qstash.devserver.delivery import Delivery
from django_qstash.devserver.headers import readable
from django_qstash.devserver.message import FINAL
from django_qstash.devserver.origin import is_foreign, is_local_name
from django_qstash.devserver.protocol import Listener, invite_body
from django_qstash.devserver.refusal import Refusal
from django_qstash.devserver.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from django_qstash.devserver.state import State

_log = logging.getLogger("django_qstash.devserver.api")

#: Longest request line and header; a destination URL stands in both.
_MAX_LINE = 64 * 1024
#: Seconds that a client may leave between two parts of a body.
_PATIENCE = 20.0
#: Seconds that open requests get at shutdown.
_GRACE = 0.5


class Server:
    """One listening server around one :class:`State`. To be used inside one event loop."""

    def __init__(
        self,
        state: State,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        host_map: Mapping[str, str] | None = None,
        allowed_hosts: Collection[str] = (),
        commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = state
        self.host = host
        self.port = port
        #: Writes down what changed; called before a request is answered and after each step.
        self._commit = commit
        #: Names besides local ones under which a browser may find it.
        self.allowed_hosts = frozenset(name.lower() for name in allowed_hosts)
        self.stream = Stream()
        self.delivery = Delivery(state, host_map=host_map, after_step=self._after_step)
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where clients find it; a wildcard address is shown as loopback."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen and deliver. Raises ``OSError`` when the address cannot be had."""
        server = Listener(
            self._handle,
            access_log=None,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            # A body goes on byte for byte, whatever its encoding.
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_GRACE)
        await self._runner.setup()
        # First, so that the very first request finds it running.
        await self.delivery.start()
        try:
            site = web.TCPSite(self._runner, self.host, self.port)
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            await self.delivery.stop(grace=0)
            raise
        self.port = self._runner.addresses[0][1]

    def _after_step(self) -> None:
        self.stream.notify()
        self._commit()

    async def stop(self) -> None:
        """Take no more requests, let go of open calls, and write the rest down."""
        self.stream.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self.delivery.stop()
        self._commit()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = _target(request)
        path = target.partition("?")[0]
        try:
            self._admit(request, path)
            if path == "/_dev/stream":
                api.authenticate(self.state, _call(request, target, b""))
                return await self.stream.serve(request)
            if request.method in ("GET", "HEAD") and (reply := self._page(path)):
                return _response(reply)
            body = await self._read(request, target)
        except Refusal as refusal:
            response = _response(api.Reply.refused(refusal))
            response.force_close()
            return response
        reply = api.answer(self.state, _call(request, target, body))
        try:
            self._commit()
        except OSError as error:
            reply = api.Reply.refused(Refusal(500, str(error)))
        self.delivery.wake()
        if path.startswith("/v2/"):
            _log.info("method=%s target=%s status=%d", request.method, target, reply.status)
        if reply.status == 0 and request.transport is not None:
            request.transport.abort()
        return _response(reply)

    def _admit(self, request: web.BaseRequest, path: str) -> None:
        """Refuse what comes from a page of another site. Raises :class:`Refusal` 403."""
        host = request.headers.get("Host", "")
        if is_foreign(request.headers.get("Origin", ""), host, self.allowed_hosts):
            raise Refusal(403, "a page of another site may not use this server")
        if (path == "/" or path.startswith("/_dev/")) and not is_local_name(
            host, self.allowed_hosts
        ):
            raise Refusal(403, f"the host {host} is not allowed here; see --allow-host")

    def _page(self, path: str) -> api.Reply | None:
        if path == "/healthz":
            return self._health()
        if path == "/":
            return dashboard.page(environment(self))
        return dashboard.asset(path.removeprefix("/_dev/")) if path.startswith("/_dev/") else None

    async def _read(self, request: web.BaseRequest, target: str) -> bytes:
        limits = self.state.limits
        batch = target.startswith("/v2/batch")
        limit = limits.max_batch_size if batch else limits.max_message_size
        if not request.body_exists:
            return b""
        await invite_body(request)
        chunks: list[bytes] = []
        size = 0
        while not request.content.at_eof():
            chunk = await _next_chunk(request)
            size += len(chunk)
            if size > limit:
                name = "maxBatchSize" if batch else "maxMessageSize"
                raise Refusal(412, f"quota {name} exceeded, current limit: {limit}")
            chunks.append(chunk)
        return b"".join(chunks)

    def _health(self) -> api.Reply:
        machine = self.state.machine
        return api.Reply.of(
            {
                "status": "ok",
                "server": "django-qstash devserver",
                "url": self.url,
                "messages": sum(
                    count for name, count in machine.tally.items() if name not in FINAL
                ),
                "calls": machine.calls,
                "schedules": len(self.state.schedules),
                "dlq": len(machine.dead),
            }
        )


def _target(request: web.BaseRequest) -> str:
    """The raw request target from its path on; proxies send it with scheme and host."""
    raw = readable(request.raw_path)
    if raw.startswith("/"):
        return raw
    _, _, rest = raw.partition("://")
    return "/" + rest.partition("/")[2]


async def _next_chunk(request: web.BaseRequest) -> bytes:
    """What has arrived of the body, else what arrives next. Raises :class:`Refusal` 408."""
    # Most bodies come together with their head, and are read without a task to watch the time.
    if chunk := request.content.read_nowait():
        return chunk
    try:
        return await asyncio.wait_for(request.content.readany(), _PATIENCE)
    except asyncio.TimeoutError:
        # A chunk that is malformed looks the same: aiohttp gives up on it and says nothing.
        raise Refusal(408, f"nothing of the body arrived for {_PATIENCE:g} s") from None


def _call(request: web.BaseRequest, target: str, body: bytes) -> api.Call:
    return api.Call(
        method=request.method,
        target=target,
        headers=[(name, readable(value)) for name, value in request.headers.items()],
        body=body,
        caller_ip=request.remote or "",
    )


def _response(reply: api.Reply) -> web.Response:
    return web.Response(
        status=reply.status or 500,
        body=reply.body,
        content_type=reply.content_type,
        headers=reply.headers,
    )


def environment(server: Server) -> dict[str, str]:
    """What an application needs in its environment to use the server."""
    keys = server.state.keys
    return {
        "QSTASH_URL": server.url,
        "QSTASH_TOKEN": keys.token,
        "QSTASH_CURRENT_SIGNING_KEY": keys.current,
        "QSTASH_NEXT_SIGNING_KEY": keys.next,
    }


def banner(server: Server) -> str:
    """What is printed at start: a line that the SDKs wait for, then ``NAME=value`` lines."""
    lines = [
        f"django-qstash development server is running at {server.url}",
        "For development only: its credentials are public. For your .env:",
        *(f"{name}={value}" for name, value in environment(server).items()),
    ]
    return "\n".join(lines)
