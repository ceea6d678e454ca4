"""The server inside a test's own process, in a thread, on a free port."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from django_qstash.clock import Clock, SystemClock, VirtualClock
from django_qstash.devserver.faults import Faults, Knobs
from django_qstash.devserver.server import Server
from django_qstash.devserver.setup import build

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from typing_extensions import Self

    from django_qstash.devserver.state import State

_T = TypeVar("_T")


class EmbeddedServer:
    """A context manager around a running server.

    With a :class:`~django_qstash.clock.VirtualClock`, which the application must use too, nothing
    happens by waiting: :meth:`advance` moves the time and makes what becomes due happen.

    A destination that moves that clock beyond its time-out has timed out, whatever it answers then.
    One that hangs does so in real seconds, and is given up after as many.

    ``state`` belongs to the server's thread: read it after :meth:`wait_idle`, or let :meth:`ask`
    run a function over there.
    """

    def __init__(
        self,
        port: int = 0,
        clock: Clock | None = None,
        retry_scale: float = 1.0,
        faults: Knobs | None = None,
        db: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._built = build(
            clock=self.clock, db=db, retry_scale=retry_scale, faults=Faults(faults or Knobs())
        )
        self.state: State = self._built.state
        self._server = Server(self.state, host=host, port=port, commit=self._built.commit)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def token(self) -> str:
        return self.state.keys.token

    @property
    def current_key(self) -> str:
        return self.state.keys.current

    @property
    def next_key(self) -> str:
        return self.state.keys.next

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen and deliver. Raises ``OSError`` when the port is taken."""
        ready = threading.Event()
        failure: list[BaseException] = []

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            try:
                await self._server.start()
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                failure.append(error)
                return
            finally:
                ready.set()
            await self._stop.wait()
            await self._server.stop()

        self._thread = threading.Thread(
            target=lambda: asyncio.run(main()), name="qstash-devserver", daemon=True
        )
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._built.close()
            raise failure[0]

    def stop(self) -> None:
        """Stop; messages that wait are gone, unless there is a journal."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._built.close()

    def ask(self, function: Callable[[State], _T]) -> _T:
        """Run ``function(state)`` in the server's thread and return what it returns."""

        async def call() -> _T:
            try:
                return function(self.state)
            finally:
                self._server.delivery.wake()

        return self._run(call(), timeout=None)

    def wait_idle(self, timeout: float | None = 10.0) -> None:
        """Return when nothing is due and no call is open; later messages do not count.

        Raises ``TimeoutError`` after ``timeout`` seconds of real time.
        """
        self._run(self._server.delivery.wait_idle(), timeout=timeout)

    def advance(self, seconds: float, timeout: float | None = 10.0) -> None:
        """Move the shared virtual clock on, and make everything that becomes due happen in order.

        Each step is waited for, as by :meth:`wait_idle`, before the clock moves to the next.
        Raises ``TypeError`` with any other clock.
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock):
            raise TypeError("advance() needs a VirtualClock, shared by server and application.")
        end = clock.time() + seconds
        self.wait_idle(timeout)
        while True:
            due = self.ask(lambda state: state.machine.next_due())
            if due is None or due > end:
                break
            if due > clock.time():
                clock.advance(due - clock.time())
            self.wait_idle(timeout)
        if end > clock.time():
            clock.advance(end - clock.time())

    def _run(self, coroutine: Coroutine[Any, Any, _T], *, timeout: float | None) -> _T:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("The embedded server is not running.")
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, timeout), self._loop)
        try:
            return future.result()
        except asyncio.TimeoutError:
            raise TimeoutError(f"The embedded server was busy for {timeout} s.") from None
