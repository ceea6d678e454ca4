"""Server-sent events: the dashboard is told that something changed, and asks what."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

#: Seconds between two messages at least, however much happens.
_PACE = 0.25
#: Seconds after which a connection says that it is alive.
_HEARTBEAT = 15.0


class Stream:
    """The open dashboards."""

    def __init__(self) -> None:
        self._changed: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self) -> None:
        """Something changed."""
        for event in self._changed:
            event.set()

    def close(self) -> None:
        """Let go of every connection; each would otherwise hold up the end of the server."""
        for task in self._tasks:
            task.cancel()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one dashboard, for as long as it stays."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        changed = asyncio.Event()
        self._changed.add(changed)
        task = asyncio.ensure_future(self._write(response, changed))
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await task
        finally:
            task.cancel()
            self._tasks.discard(task)
            self._changed.discard(changed)
        return response

    async def _write(self, response: web.StreamResponse, changed: asyncio.Event) -> None:
        await response.write(b"retry: 1000\n\n")
        while True:
            try:
                await asyncio.wait_for(changed.wait(), _HEARTBEAT)
            except asyncio.TimeoutError:
                await response.write(b": alive\n\n")
                continue
            changed.clear()
            await response.write(b"event: change\ndata: {}\n\n")
            await asyncio.sleep(_PACE)
