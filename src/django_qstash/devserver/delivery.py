"""The HTTP calls: one event loop, one timer for whatever is due next, one task per open call."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from django_qstash.clock import SystemClock
from django_qstash.devserver.headers import delivered, readable
from django_qstash.devserver.message import Answer, Attempt, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django_qstash.devserver.state import State

_log = logging.getLogger("django_qstash.devserver.delivery")

#: Seconds for which an unused connection is kept: long enough for a burst, too short to be found
#: closed by a destination that reloads itself.
_KEEPALIVE = 1.0
#: The longest sleep, so that a machine that was suspended catches up.
_LONGEST_SLEEP = 30.0


class Delivery:
    """Drives a state's machine: makes the calls that are due and tells it what came of them."""

    def __init__(
        self,
        state: State,
        *,
        host_map: Mapping[str, str] | None = None,
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = state
        self._host_map = {name.lower(): urlsplit(base) for name, base in (host_map or {}).items()}
        #: Called after each step, when what the machine decided is to be written down.
        self._after_step = after_step
        # With a clock that stands still nothing becomes due by waiting.
        self._ticking = isinstance(state.clock, SystemClock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._closing = False
        self._idle: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self.wake()

    async def stop(self, grace: float = 0.5) -> None:
        """Start nothing more, give open calls ``grace`` seconds, and give them up then.

        A call that was given up is made again when the state comes back from its journal.
        """
        self._closing = True
        self._release_waiting()
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def wake(self) -> None:
        """Look for what is due, soon; to be called after every change of the state."""
        if not self._scheduled and not self._closing:
            self._scheduled = True
            self._loop.call_soon(self._step)

    async def wait_idle(self) -> None:
        """Return when nothing is due and no call is open, or when it stops."""
        while not self._state.machine.idle() and not self._closing:
            future = self._loop.create_future()
            self._idle.append(future)
            self.wake()
            await future

    def _step(self) -> None:
        self._scheduled = False
        if self._closing:
            return
        machine = self._state.machine
        for attempt in machine.due():
            task = self._loop.create_task(self._attempt(attempt))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            self._after_step()
        except OSError:
            _log.exception("What happened could not be written down; it is tried again")
        self._arm(machine.next_due())
        if self._idle and machine.idle():
            self._release_waiting()

    def _release_waiting(self) -> None:
        for future in self._idle:
            if not future.done():
                future.set_result(None)
        self._idle.clear()

    def _arm(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is None:
            return
        wait = due - self._state.clock.time()
        if wait <= 0:
            self.wake()
        elif self._ticking:
            self._timer = self._loop.call_later(min(wait, _LONGEST_SLEEP), self.wake)

    async def _attempt(self, attempt: Attempt) -> None:
        answer = await self._call(attempt)
        self._state.machine.finish(attempt, answer)
        _report(attempt, answer, self._state.clock.time())
        self.wake()

    async def _call(self, attempt: Attempt) -> Answer:
        message = attempt.message
        limits = self._state.limits
        timeout = message.spec.timeout or limits.max_timeout
        started, began = time.perf_counter(), self._state.clock.time()
        try:
            url = self._address(message.url)
            async with self._session.request(
                message.spec.method,
                url,
                data=message.spec.body
                if message.spec.body or message.spec.method != "GET"
                else None,
                headers=self._headers(attempt),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                body = await _read(response, limits.max_message_size)
                if not self._ticking and self._state.clock.time() - began > timeout:
                    # The destination moved the clock that it shares with us beyond its time.
                    raise asyncio.TimeoutError
                return Answer(
                    status=response.status,
                    header=tuple(
                        (name, readable(value)) for name, value in response.headers.items()
                    ),
                    body=body,
                    error=""
                    if response.ok
                    else f"{response.status} {response.reason or ''}".strip(),
                    took=time.perf_counter() - started,
                )
        except (asyncio.TimeoutError, TimeoutError):
            error = f"timed out after {timeout} s"
        except aiohttp.ClientConnectorError as problem:
            error = f"could not connect to {problem.host}:{problem.port}: {problem.os_error}"
        except aiohttp.ServerDisconnectedError:
            error = "the connection was closed before an answer came"
        except Exception as problem:  # noqa: BLE001 - whatever a call meets, the message goes on
            error = f"{type(problem).__name__}: {problem}"
        return Answer(status=0, error=error, took=time.perf_counter() - started)

    def _address(self, url: str) -> URL:
        """The URL byte for byte, or on another host where one is mapped."""
        if not self._host_map:
            return URL(url, encoded=url.isascii())
        parts = urlsplit(url)
        base = self._host_map.get((parts.hostname or "").lower())
        if base is not None:
            url = parts._replace(scheme=base.scheme, netloc=base.netloc).geturl()
        return URL(url, encoded=url.isascii())

    def _headers(self, attempt: Attempt) -> CIMultiDict[str]:
        headers = CIMultiDict(delivered(attempt, self._state.keys, self._state.clock.time()))
        if self._host_map:
            headers["Host"] = urlsplit(attempt.message.url).netloc.rpartition("@")[2]
        return headers


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The answer's body, decoded, and cut at ``limit`` bytes as QStash cuts it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size >= limit:
            response.close()
            break
    return _decoded(b"".join(chunks)[:limit], response.headers.get("Content-Encoding", ""), limit)


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding.lower() not in ("gzip", "x-gzip", "deflate") or not body:
        return body
    try:
        # 47 takes gzip and zlib alike, by their first bytes.
        return zlib.decompressobj(wbits=47).decompress(body, limit)
    except zlib.error:
        return body


def _report(attempt: Attempt, answer: Answer, now: float) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    message: Message = attempt.message
    _log.info(
        "message=%s state=%s attempt=%d status=%d ms=%.1f method=%s url=%s%s%s",
        message.id,
        "ECHO" if attempt.echo else message.state,
        attempt.retried + 1,
        answer.status,
        answer.took * 1000,
        message.spec.method,
        message.url,
        f" error={json.dumps(answer.error)}" if answer.error else "",
        f" wait={message.next_time - now:.0f}s" if message.state == "RETRY" else "",
    )
