"""A task: a function with a name, that can be called here or sent to be run elsewhere."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from django.utils.module_loading import import_string

from django_qstash import serialization, states
from django_qstash.conf import settings
from django_qstash.exceptions import MaxRetriesExceededError, Retry
from django_qstash.tasks import eager, execute, outbox, replacing, send, write
from django_qstash.tasks import options as call_options
from django_qstash.tasks import retry as retry_room
from django_qstash.tasks.canvas import Signature, chunks, xmap, xstarmap
from django_qstash.tasks.configured import configured
from django_qstash.tasks.request import Context, RequestStack, context_of, current, running
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.store import get_store

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage
    from django_qstash.tasks.eagerresult import EagerResult
    from django_qstash.tasks.validated import Models
    from django_qstash.wire.delivery import Delivery, Reply

P = ParamSpec("P")
R = TypeVar("R")

#: Says which Celery object is current. It stands above the tasks, and is asked for by name.
CURRENT_APP = "django_qstash.application.current.get_current_app"


class Task(Generic[P, R]):
    """The base of every task, with Celery's attributes; subclass it for ``base=``.

    One instance serves all calls of a process, so what it keeps on ``self`` outlives them.
    """

    #: The name it is registered and sent under.
    name: str = ""
    #: Django's templates call whatever can be called: naming a task in one must not run it.
    do_not_call_in_templates = True
    #: A base class only; not registered itself. Not inherited.
    abstract: ClassVar[bool] = True
    #: Retries in all; ``None`` for ever.
    max_retries: int | None = 3
    #: Seconds before a retry that says nothing else.
    default_retry_delay: float = 180
    #: Exceptions that are retried without the body's asking, and how.
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] | None = None
    #: ``True``, or a factor in seconds: the delay doubles with each retry, up to the maximum.
    retry_backoff: bool | float = False
    retry_backoff_max: int = 600
    #: Any delay up to the computed one, so that tasks that failed together do not return together.
    retry_jitter: bool = True
    #: Exceptions that are expected: logged as information, without a traceback.
    throws: Sequence[type[BaseException]] = ()
    ignore_result: bool | None = configured("task_ignore_result", None)
    #: Keep the result of an eager call, too; unset: ``DJANGO_QSTASH_STORE_EAGER_RESULT``.
    store_eager_result: bool | None = None
    #: Keep the exception of a failure even where the result is ignored.
    store_errors_even_if_ignored: bool = configured("task_store_errors_even_if_ignored", False)
    #: The row says STARTED while the body runs, whatever this says: it is what holds the lease.
    track_started: bool = False
    #: ``False``: run at most once; a task whose process died is failed rather than run again.
    #: Unset it is late, and the task is run again. Celery's default is the other way round.
    acks_late: bool | None = configured("task_acks_late", None)
    reject_on_worker_lost: bool | None = configured("task_reject_on_worker_lost", None)
    #: Seconds after which the body feels SoftTimeLimitExceeded, and after which it has failed.
    soft_time_limit: float | None = configured("task_soft_time_limit", None)
    time_limit: float | None = configured("task_time_limit", None)
    #: How often it may run, in all processes together, such as ``"10/m"``.
    rate_limit: str | float | None = configured("task_default_rate_limit", None)
    #: Body and result commit together, on the results database: effects happen exactly once.
    atomic: bool = False
    #: Check a call's arguments against the function before anything is sent.
    typing: bool = True
    #: Seconds from the call, or a datetime, after which it is not run any more.
    expires: Any = None
    #: Carried in ``request.delivery_info``; QStash knows no priorities.
    priority: int | None = configured("task_default_priority", None)
    queue: str | None = None
    #: The same where no queue is named.
    routing_key: str | None = None
    #: The models among its arguments, with ``pydantic=True``.
    models: Models | None = None
    #: Whether what it sends is counted among its children.
    trail: bool = True
    #: A part of the canvas that no list of tasks shows.
    internal: bool = False
    #: It is told when QStash gives its message up, even where no results are kept.
    hears_of_loss: bool = False
    #: When it runs by itself: a cron expression, a ``CronTrigger``, or a list. Needs the schedules
    #: app, whose command ``task_schedules --sync`` tells QStash.
    cron: Any = None
    #: Where ``cron`` holds; ``None``: in UTC.
    timezone: str | None = None
    #: What ``cron`` does while the last run is at work: ``"allow"``, ``"skip"`` or ``"queue"``;
    #: ``None``: what is chosen in the admin. The last two need the results app.
    overlap: str | None = None

    #: The QStash account that its messages go through, by its name in DJANGO_QSTASH_ACCOUNTS.
    account: str | None = None

    # QStash's own words; each holds for every delivery of this task.
    retries: int | None = None
    retry_delay: str | None = None
    timeout: Any = None
    label: Any = None
    flow_control: Mapping[str, Any] | None = None
    callback: str | None = None
    callback_headers: Mapping[str, str] | None = None
    failure_callback: str | None = None
    failure_callback_headers: Mapping[str, str] | None = None
    redact: Any = None
    content_based_deduplication: bool | None = None

    #: The ``Celery`` object that made it; ``None`` for a shared task.
    app_made_by: ClassVar[Any] = None

    #: Celery's names for what a task may raise through ``self``.
    MaxRetriesExceededError = MaxRetriesExceededError

    __wrapped__: Callable[..., Any]
    __name__: str

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The body. A decorated function, or what a subclass writes here."""
        raise NotImplementedError("Tasks must define the run method.")

    # --- calling ------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here and now. Needs no configuration, and sends nothing.

        The body of an ``async def`` task is run to its end, too, unless an event loop is running in
        this thread: then the coroutine is returned, to be awaited.
        """
        value: Any
        found = current()
        if found and found[0] is self and found[1].enter_body():
            # An overridden __call__ has come to super(): this is the delivery's own call.
            value = execute.call(self.run, args, kwargs)
            return value  # type: ignore[no-any-return]
        context = Context(args=args, kwargs=kwargs, called_directly=True)
        if self.is_async and _loop_is_running():
            value = _within(self, context, self.run(*args, **kwargs))
            return value  # type: ignore[no-any-return]
        with running(self, context):
            value = execute.call(self.run, args, kwargs)
        return value  # type: ignore[no-any-return]

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it with these arguments. Celery: ``delay``, which never takes options."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it with these arguments and options.

        ``countdown`` (seconds), ``eta``, ``expires``, ``queue``, ``headers``, ``ignore_result`` and
        ``shadow`` are Celery's; ``retries``, ``timeout``, ``label``, ``flow_control``,
        ``deduplication_id``, ``callback``, ``failure_callback`` and ``redact`` are QStash's. A
        keyword that is no option is an argument of the task. ``account`` names one of
        DJANGO_QSTASH_ACCOUNTS. ``using`` is Django's: the database whose transaction the message is
        part of, with the outbox app.

        Raises ``TypeError`` for arguments that do not fit the function, :class:`EncodeError` for
        those that JSON cannot carry, :class:`OptionError`, :class:`PayloadTooLarge`, and
        :class:`PublishError` when QStash cannot be reached. Nothing is sent or recorded then.
        """
        using = outbox.checked(options.pop("using", None))
        add_to_parent = options.pop("add_to_parent", True)
        message, once = write.write(self.name, args, kwargs, {**options, "task_id": task_id}, self)
        result: AsyncResult[R] = self.AsyncResult(message.id)
        result.ignored = self.ignores_result(message.ignore_result)
        if write.catch(self, message):
            return result
        if settings.DJANGO_QSTASH_ALWAYS_EAGER:
            ran: AsyncResult[R] = eager.apply_message(self, message)
            return ran
        result.message_id = send.send(message, once, using)
        result.account = send.account_of(message)
        found = current()
        if found and add_to_parent:
            found[0].add_trail(result)
        return result

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int = 0,
        throw: bool | None = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run it here, as a delivery would, and return what became of it. Celery: ``apply``.

        ``throw`` lets the task's exception rise; by default ``DJANGO_QSTASH_EAGER_PROPAGATES``.
        A retry runs again at once, and what ``link`` and ``link_error`` name runs here, too.
        """
        result: EagerResult[R] = eager.apply_task(
            self,
            args,
            kwargs,
            task_id=task_id,
            retries=retries,
            throw=throw,
            link=link,
            link_error=link_error,
            headers=headers,
            options=options,
        )
        return result

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """:meth:`delay` once the open transaction has been committed; at once outside of any.

        There is no result to return yet. Celery: ``DjangoTask.delay_on_commit``.
        """
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Any,
    ) -> None:
        """:meth:`apply_async` once the open transaction of the database ``using`` is committed.

        With the outbox app the message is part of that transaction, so nothing between commit and
        sending can lose it. Celery: ``DjangoTask.apply_async_on_commit``.
        """
        if using is not None and outbox.get_outbox() is not None:
            options["using"] = using
        outbox.on_commit(partial(self.apply_async, args, kwargs, **options), using)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """:meth:`delay` for async code."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """:meth:`apply_async` for async code."""
        from asgiref.sync import sync_to_async

        send_it = sync_to_async(self.apply_async)
        result: AsyncResult[R] = await send_it(args, kwargs, task_id, **options)
        return result

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: Any = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Have this call run again, under the same task id: ``raise self.retry(…)``.

        After ``countdown`` seconds, at ``eta``, or after ``default_retry_delay`` (180 s); with
        ``args`` and ``kwargs``, or those of this call. ``max_retries`` holds for this call alone.
        ``throw=False`` returns the :class:`Retry` and lets the task go on.

        Raises :class:`Retry`; once the limit is reached ``exc`` if it is given, else
        :class:`MaxRetriesExceededError`; called directly, ``exc``. Celery: ``Task.retry``.
        """
        return retry_room.retry(
            self,
            args=args,
            kwargs=kwargs,
            exc=exc,
            throw=throw,
            eta=eta,
            countdown=countdown,
            max_retries=max_retries,
            options=options,
        )

    # --- signatures and canvases ----------------------------------------------------------------

    def signature(self, args: Sequence[Any] | None = None, *more: Any, **options: Any) -> Signature:
        """A call of this task that is not made yet. Celery: ``Task.signature``."""
        return Signature(self.name, args, *more, **options)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """The signature of a call with these arguments, to which a canvas may add others.

        So it is checked when it is called, not when it is written.
        """
        return Signature(self.name, args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature:
        """The same, immutable: it is called with these arguments and no others."""
        return Signature(self.name, args, kwargs, immutable=True)

    def map(self, it: Iterable[Any]) -> Signature:
        """``[task(x) for x in it]`` as one task."""
        return xmap(self.s(), it)

    def starmap(self, it: Iterable[Any]) -> Signature:
        """``[task(*x) for x in it]`` as one task."""
        return xstarmap(self.s(), it)

    def chunks(self, it: Iterable[Any], n: int) -> Signature:
        """A group of starmaps, each for ``n`` items."""
        return chunks(self.s(), it, n)

    def replace(self, sig: Any) -> Any:
        """Have a canvas take this call's place: its id, its chain, its chord, its callbacks.

        ``return self.replace(sig)``. Raises :class:`Ignore`, by which the call ends; an eager task
        returns the canvas's value. Raises :class:`ImproperlyConfigured` for an empty chain.
        """
        return replacing.replace(self, sig)

    def on_replace(self, sig: Any) -> Any:
        """What :meth:`replace` comes to; an override returns ``super().on_replace(sig)``."""
        return replacing.take_place(self, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Have the chord that this call is a member of wait for ``sig`` as well, and send it.

        ``lazy`` leaves the sending to the caller. Its value comes after those of the header. Raises
        ``ValueError`` outside of a chord.
        """
        return replacing.add_to_chord(self, sig, lazy=lazy)

    def add_trail(self, result: Any) -> Any:
        """Count a result among this call's children, unless the task says ``trail=False``."""
        if self.trail:
            self.request.children.append(result)
        return result

    # --- the call under way -------------------------------------------------------------------

    def take_over(
        self,
        message: TaskMessage,  # noqa: ARG002
        delivery: Delivery,  # noqa: ARG002
        forced: execute.Outcome | None,  # noqa: ARG002
    ) -> Reply | execute.Outcome | None:
        """What a task of another nature does with its letter; an ordinary one, nothing.

        Returns the answer to it, an outcome that is to be recorded in place of running it, or
        ``None``: it is run, or ``forced`` recorded.
        """
        return None

    def is_open(self, task_id: str, heard_within: float | None = None) -> bool | None:
        """True while this call of the task is under way, as :meth:`TaskStore.is_open` has it.

        Raises :class:`ResultsNotInstalled`.
        """
        return get_store().is_open(task_id, heard_within)

    @property
    def request(self) -> Context:
        """The context of the call under way; an empty one outside of any."""
        return context_of(self) or Context()

    @property
    def app(self) -> Any:
        """The ``Celery`` object that made it; for a shared task the current one."""
        return self.app_made_by or import_string(CURRENT_APP)()

    @property
    def request_stack(self) -> RequestStack:
        """The contexts of the calls of this task that are under way in this thread."""
        return RequestStack(self)

    def push_request(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        """Give the task a context as if it were called, until :meth:`pop_request`. For tests."""
        known = {name: value for name, value in vars(self.request).items() if name[0] != "_"}
        self.request_stack.push(Context(*args, **{**known, **kwargs}))

    def pop_request(self) -> None:
        """Undo the last :meth:`push_request`."""
        self.request_stack.pop()

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str | None:  # noqa: ARG002
        """The name that a call is shown under, where ``shadow`` gives none; ``None``: its own."""
        return None

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **_: Any
    ) -> None:
        """Tell what the task is at: any ``state``, and ``meta`` as ``AsyncResult.info``.

        ``task_id`` is this call's by default. A state that is final stays. Does nothing for an
        eager task, or for one that was called as a function. Raises :class:`EncodeError`, and
        ``TypeError`` outside of a call without an id. Celery: ``Task.update_state``.
        """
        context = self.request
        if context.is_eager:
            return
        target = task_id or context.id
        if target is None and context_of(self) is not None:
            return
        if target is None:
            raise TypeError("update_state() outside of a task needs a task_id.")
        text = serialization.dumps(meta, what=f"meta of {self.name}")
        token = context.token if target == context.id else None
        get_store().update_state(target, state or states.STARTED, text, token)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:  # noqa: N802 - Celery's
        """The result of a call of this task by its id; what ``delay`` and canvases return, too."""
        return AsyncResult(task_id, **kwargs)

    # --- hooks, which do nothing by themselves --------------------------------------------------

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before the body."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called after the body returned and its result was recorded."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after the body raised and the failure was recorded."""

    def on_retry(
        self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after the body asked to be run again, and that was recorded."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called last, whatever became of it, unless it is to be tried again."""

    # --- what the send and receive rooms ask ----------------------------------------------------

    @cached_property
    def is_bound(self) -> bool:
        """True if the body is a method: of a bound function, or of a class that has ``run``."""
        return inspect.ismethod(self.run)

    def overrides_apply_async(self) -> bool:
        """True if a base class sends in a way of its own."""
        return type(self).apply_async is not Task.apply_async

    @cached_property
    def is_async(self) -> bool:
        """True for an ``async def`` body."""
        return inspect.iscoroutinefunction(inspect.unwrap(self.run))

    def body(self) -> Callable[..., Any]:
        """What a delivery calls: ``__call__`` where a base class overrides it, else ``run``."""
        return self if type(self).__call__ is not Task.__call__ else self.run

    def signature_of_run(self) -> inspect.Signature:
        """The parameters that a caller gives: those of the body without ``self``."""
        return self._signature

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.run)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises ``TypeError`` if the body cannot be called like this; with ``typing`` only."""
        if not self.typing:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None

    def check_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """:meth:`check_arguments` for a call that is made now."""
        self.check_arguments(args, kwargs)

    def delivery_options(self) -> Mapping[str, Any]:
        """The QStash options that hold for all deliveries of this task, cleaned.

        Raises :class:`OptionError`.
        """
        return self._delivery_options

    @cached_property
    def _delivery_options(self) -> dict[str, Any]:
        return call_options.of_task(self)

    def options_changed(self) -> None:
        """Attributes were set after the task was made: compute anew what depends on them."""
        for name in ("_delivery_options", "_signature", "is_bound", "is_async"):
            self.__dict__.pop(name, None)

    def ignores_result(self, of_call: bool | None) -> bool:
        return bool(self.ignore_result if of_call is None else of_call)

    def __repr__(self) -> str:
        return f"<@task: {self.name or type(self).__name__}>"

    def __reduce__(self) -> Any:
        return _by_name, (self.name,)


def _by_name(name: str) -> Task[..., Any]:
    from django_qstash.tasks.registry import tasks

    return tasks.find(name)


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _within(task: Task[..., Any], context: Context, coroutine: Any) -> Any:
    with running(task, context):
        return await coroutine
