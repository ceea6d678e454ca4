"""What a body holds in its hands: ``ctx``. Every step goes through :meth:`Context.ask`."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django_qstash.exceptions import Interrupt, NonDeterminismError, Suspend, WorkflowError
from django_qstash.workflows import versions
from django_qstash.workflows.asks import Ask
from django_qstash.workflows.failures import rebuild
from django_qstash.workflows.history import Entry, History, Key, Kind, Status
from django_qstash.workflows.signals import step_input_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence
    from datetime import datetime

    from django_qstash.workflows.asks import Host
    from django_qstash.workflows.steps import Steps

logger = logging.getLogger("django_qstash.workflows")


class ChangedInputWarning(UserWarning):
    """A finished step is asked for with other arguments than those it ran with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A run, as its body sees it."""

    id: str
    workflow: str
    queue: str | None = None
    #: Which attempt at the body this is, and how many there may be.
    attempt: int = 1
    max_attempts: int = 1


class Canceled(threading.Event):
    """Set once somebody has canceled the run; whoever asks looks, at most once a second.

    In async code the look goes on beside it: :meth:`is_set` tells what the one before has found.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        super().__init__()
        self._look = look
        self._looked = 0.0
        #: Held, so that the loop does not lose it.
        self._looking: asyncio.Task[None] | None = None

    def is_set(self) -> bool:
        now = time.monotonic()
        if not super().is_set() and now - self._looked >= 1:
            self._looked = now
            loop = _running_loop()
            if loop is None:
                self._look_now()
            else:
                self._looking = loop.create_task(self._look_later())
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        if _running_loop() is not None:
            raise WorkflowError(
                "ctx.canceled.wait() would stop the event loop. In async code ask again and again: "
                "while not ctx.canceled.is_set(): await asyncio.sleep(1)"
            )
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = 1.0 if end is None else min(1.0, end - time.monotonic())
            if left <= 0:
                return False
            super().wait(left)
        return True

    def _look_now(self) -> None:
        if self._look():
            self.set()

    async def _look_later(self) -> None:
        """Look in the thread whose database connections the run uses."""
        from asgiref.sync import sync_to_async

        try:
            await sync_to_async(self._look_now)()
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            # The database was in the way, or the code that asked has ended meanwhile.
            logger.debug("Whether the run was canceled could not be looked at: %r", error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Context:
    """A workflow's hold on its run.

    ``data`` (also ``input``) is what the run was started with. ``canceled`` is an event that is set
    soon after somebody canceled the run, for steps that take long and can stop early; async code
    asks it again and again (``is_set()``). ``deadline`` is when the run's ``timeout`` ends it, or
    ``None``. ``logger`` says nothing during a replay.
    """

    step: Steps

    def __init__(
        self,
        host: Host,
        *,
        run: RunInfo,
        data: Any = None,
        deadline: datetime | None = None,
        idempotency_key: str | None = None,
        is_async: bool = False,
        strict: bool = False,
        is_canceled: Callable[[], bool] = lambda: False,
    ) -> None:
        from django_qstash.workflows.steps import Steps

        self.run = run
        self.run_id = run.id
        self.workflow_id = run.workflow
        self.data = data
        self.input = data
        self.deadline = deadline
        self.idempotency_key = idempotency_key
        self.canceled = Canceled(is_canceled)
        self.step = Steps(self)
        self.logger = _ReplayLogger(logger, {"run_id": run.id, "workflow": run.workflow}, self)
        #: In ``on_failure``: what the run failed with, and the step that it came from.
        self.error: BaseException | None = None
        self.failed_step: str | None = None
        self.is_async = is_async
        #: Other arguments of a finished step are an error rather than a warning.
        self.strict = strict
        #: The run has paused: whatever the body still asks for, in a ``finally``, is not done.
        self.is_paused = False
        self.body_task: asyncio.Task[Any] | None = None
        self._host = host
        self._started: list[tuple[Ask, Key]] = []
        #: Branches that the body has started and not joined.
        self._unjoined: dict[Key, None] = {}
        #: A branch that is recorded was started before, and the body went on to what it asks next.
        self._was_past = False
        self._versions: dict[str, int] = {}

    # --- recorded values ------------------------------------------------------------------------

    def now(self, step_id: str = "now") -> Any:
        """The time, recorded: a replay gets the same. An aware datetime in UTC."""
        return self.step.now(step_id)

    def uuid(self, step_id: str = "uuid") -> Any:
        """A random UUID, recorded."""
        return self.step.uuid(step_id)

    def random(self, step_id: str = "random") -> Any:
        """A random number from 0 up to 1, recorded."""
        return self.step.random(step_id)

    # --- versions of the code -------------------------------------------------------------------

    def get_version(self, change_id: str, minimum: int, maximum: int) -> Any:
        """Which version of a change this run goes by: recorded the first time it is asked for.

        A run that had gone past this place before the change was made is of version ``minimum``;
        one that comes here anew is of ``maximum``. In an async body, to be awaited.

        Raises :class:`NonDeterminismError` for a recorded version outside of the two, which the
        code no longer knows.
        """
        return versions.get_version(self, change_id, minimum, maximum)

    def patched(self, change_id: str) -> Any:
        """True for runs that come here with the patch in place, false for those that were past."""
        return versions.patched(self, change_id)

    def deprecate_patch(self, change_id: str) -> Any:
        """In place of :meth:`patched`, once no run without the patch is left."""
        return versions.deprecate_patch(self, change_id)

    # --- what the steps ask ---------------------------------------------------------------------

    @property
    def history(self) -> History:
        return self._host.history

    def ask(self, ask: Ask) -> Any:
        """The value of a step: recorded, or done now. In an async body, an awaitable of it."""
        return self._ask_later(ask) if self.is_async else self._resolve(ask)

    def start(self, ask: Ask) -> Key:
        """Note a branch; it begins with the next step that the body asks for, or with its end."""
        self._check_in()
        key = self.history.next_key(ask.step_id)
        self._host.reached(ask, key)
        self._unjoined[key] = None
        entry = self.history.find(key)
        if entry is None:
            self._started.append((ask, key))
        else:
            self._was_past = True
            self._compare(ask, key, entry)
        return key

    def join(self, keys: Sequence[Key]) -> Any:
        """The entries of branches, once all of them have ended."""
        return self._join_later(keys) if self.is_async else self._join(keys)

    def finish(self) -> None:
        """Join what the body has started and not joined, at its end. Raises what has failed."""
        if self._unjoined:
            for entry in self._join(list(self._unjoined)):
                value_of(entry)

    def begin_branch(self) -> None:
        """The body is left for the function of a branch that it was played for: that is new."""
        self._was_past = False
        self.history.ahead = 0

    @property
    def is_replaying(self) -> bool:
        """True where the body has been before."""
        return self._was_past or self.history.is_replaying

    def mark(self, change_id: str, choose: Callable[[], int], shape: Callable[[int], Any]) -> Any:
        """The version that this run goes by: one for a change, however often it is asked for."""
        if not self.is_async:
            return shape(self._marked(change_id, choose))
        from asgiref.sync import sync_to_async

        async def later() -> Any:
            self._check_task()
            return shape(await sync_to_async(self._marked)(change_id, choose))

        return later()

    def _marked(self, change_id: str, choose: Callable[[], int]) -> int:
        self._check_in()
        if change_id in self._versions:
            return self._versions[change_id]
        key = Key(f"version:{change_id}")
        entry = self.history.find(key)
        if entry is not None:
            version = int(entry.value)
        elif self.history.is_replaying:
            # Nothing is recorded for it: every replay passes here in the same way.
            version = choose()
        else:
            ask = Ask(kind=Kind.VERSION, step_id=key.step_id, function=choose)
            version = int(self._perform(ask, key, None).value)
        self._versions[change_id] = version
        return version

    def _perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        try:
            done = self._host.perform(ask, key, entry)
        except Interrupt:
            self.is_paused = True
            raise
        self.history.put(key, done)
        # From here on everything is new, even if the code has lost a step that is recorded.
        self.history.ahead = 0
        return done

    def _resolve(self, ask: Ask) -> Any:
        self._check_in()
        self._begin_branches()
        key = self.history.next_key(ask.step_id)
        entry = self.history.find(key)
        if entry is not None:
            self._compare(ask, key, entry)
        if entry is None or not entry.is_done:
            entry = self._perform(ask, key, entry)
        return ask.shape(value_of(entry))

    def _join(self, keys: Sequence[Key]) -> list[Entry]:
        self._check_in()
        self._begin_branches()
        entries = self.history.entries
        # In the search for a branch, the others of its fan are not read.
        if any(key not in entries or not entries[key].is_done for key in keys):
            try:
                self._host.join(keys)
            except Interrupt:
                self.is_paused = True
                raise
        for key in keys:
            self._unjoined.pop(key, None)
        return [entries[key] for key in keys]

    async def _ask_later(self, ask: Ask) -> Any:
        from asgiref.sync import sync_to_async

        self._check_task()
        return await sync_to_async(self._resolve)(ask)

    async def _join_later(self, keys: Sequence[Key]) -> list[Entry]:
        from asgiref.sync import sync_to_async

        self._check_task()
        return await sync_to_async(self._join)(keys)

    def _begin_branches(self) -> None:
        self._was_past = False
        if self._started:
            started, self._started = self._started, []
            self._host.start(started)

    def _check_in(self) -> None:
        if self.is_paused:
            raise Suspend
        if (frame := _frame.get()) is not None and frame.in_step:
            raise WorkflowError(
                f"A step of the run {self.run_id} asks for a step. Steps do not nest: call the "
                "function itself, or make it a child workflow (step.run_workflow)."
            )

    def _check_task(self) -> None:
        if asyncio.current_task() is not self.body_task:
            raise WorkflowError(
                "Steps of a run were awaited side by side (asyncio.gather, create_task or "
                "wait_for), in an order that no replay could repeat. Start them with step.start "
                "and join them with step.gather; a time-out is an option of the step."
            )

    def _compare(self, ask: Ask, key: Key, entry: Entry) -> None:
        """Raises :class:`NonDeterminismError` where the body asks for something else."""
        if (entry.kind, entry.target) != (ask.kind, ask.target):
            recorded, asked = named(entry.kind, entry.target), named(ask.kind, ask.target)
            raise NonDeterminismError(
                f"Step {str(key)!r} of run {self.run_id} is recorded as {recorded}, and the code "
                f"now asks for {asked}. Give the new step another id, or keep both ways with "
                "ctx.get_version or ctx.patched.",
                step=str(key),
                recorded=recorded,
                asked=asked,
            )
        if entry.input_hash != ask.input_hash and entry.is_done:
            said = (
                f"Step {str(key)!r} of run {self.run_id} has run with other arguments than the "
                "code now gives it; its recorded result is used."
            )
            if self.strict:
                raise NonDeterminismError(said, step=str(key))
            told = {"step_id": key.step_id, "occurrence": key.occurrence}
            if not _silent.get():
                step_input_changed.emit(self.workflow_id, run_id=self.run_id, **told)
            warnings.warn(said, ChangedInputWarning, stacklevel=2)


def value_of(entry: Entry) -> Any:
    """The value of a done entry. Raises what the step failed with."""
    if entry.status == Status.FAILED:
        error = rebuild(entry.error or {"type": "WorkflowError", "message": "It has failed."})
        raise error from error.__cause__
    return entry.value


def named(kind: str, target: str) -> str:
    """What a step is, for people: ``a wait for the signal 'approved'``."""
    names = {
        Kind.RUN: "a step.run",
        Kind.SLEEP: "a sleep",
        Kind.CALL: "a step.call",
        Kind.SIGNAL: "a wait for the signal",
        Kind.EVENT: "a wait for the event",
        Kind.CHILD: "a run_workflow of",
        Kind.START: "a start_workflow of",
        Kind.TASK: "a step.task of",
        Kind.BRANCH: "a parallel step",
        Kind.VALUE: "the recorded value",
        Kind.VERSION: "a version mark",
    }
    return f"{names.get(kind, kind)} {target!r}" if target else names.get(kind, kind)


class _ReplayLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Logs what happens for the first time; a line that a replay comes to again is left out."""

    def __init__(self, logger: logging.Logger, extra: dict[str, Any], context: Context) -> None:
        super().__init__(logger, extra)
        self._context = context

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's
        context = self._context
        quiet = context.is_replaying or context.is_paused or _silent.get()
        return not quiet and super().isEnabledFor(level)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


# --- which run this thread or coroutine is in ---------------------------------------------------


class Frame(NamedTuple):
    context: Context
    in_step: bool = False


_frame: ContextVar[Frame | None] = ContextVar("django_qstash_workflow", default=None)
_silent: ContextVar[bool] = ContextVar("django_qstash_workflow_silent", default=False)


def current_context() -> Context | None:
    """The context of the body that runs here; ``None`` outside of one, and inside its steps."""
    frame = _frame.get()
    return None if frame is None or frame.in_step else frame.context


def current_run() -> Context | None:
    """The context of the run whose body or step runs here."""
    frame = _frame.get()
    return None if frame is None else frame.context


class entered:  # noqa: N801 - used as a function
    """Be inside a run's body, or inside one of its steps, in this block.

    A class, since every step passes here: a generator takes three times as long.
    """

    __slots__ = ("_frame", "_token")

    def __init__(self, context: Context, *, in_step: bool = False) -> None:
        self._frame = Frame(context, in_step)

    def __enter__(self) -> None:
        self._token = _frame.set(self._frame)

    def __exit__(self, *_: object) -> None:
        _frame.reset(self._token)


@contextmanager
def silenced() -> Iterator[None]:
    """Have no signal tell, and ``ctx.logger`` log, what a body does in this block."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
