"""``ctx.step``: the steps that a body may ask for, each under an id of its own."""

from __future__ import annotations

import random
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django_qstash import clock, durations
from django_qstash.workflows import joins
from django_qstash.workflows.asks import Ask, Received, StepOptions
from django_qstash.workflows.history import Kind, hash_of
from django_qstash.workflows.joins import BranchHandle, ChildHandle
from django_qstash.workflows.names import check_id, check_name
from django_qstash.workflows.options import (
    OPTIONS,
    Duration,
    duration_of,
    refuse_ambiguous,
    step_options,
    unwrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django_qstash.workflows.context import Context
    from django_qstash.workflows.policy import RetryPolicy


class Steps:
    """The steps of one run. In an ``async def`` body every method is to be awaited."""

    def __init__(self, context: Context, options: StepOptions | None = None) -> None:
        self._context = context
        self._options = options or StepOptions()

    def options(
        self,
        *,
        retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        atomic: bool = False,
    ) -> Steps:
        """The same steps, tried like this: ``ctx.step.options(retries=5).run("pay", pay)``.

        ``retries`` or ``retry`` say how often (else the workflow does), ``timeout`` how long one
        attempt may take. With ``atomic=True`` what the function writes to the database of the runs
        and the step's record commit together, so that both happen exactly once.
        """
        return Steps(self._context, step_options(retries, retry, timeout, atomic))

    # --- functions ------------------------------------------------------------------------------

    def run(self, step_id: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``function`` once, and remember what it returned.

        ``retries``, ``retry``, ``timeout`` and ``atomic`` among the keywords are options of the
        step; ``ctx.step.options(…)`` says the same where the function has such parameters.

        Raises :class:`StepFailed` when the function has failed as often as it may; ``TypeError``
        for what cannot be called, or where an option might be meant for the function.
        """
        return self._context.ask(self._call(Kind.RUN, step_id, function, args, kwargs))

    def call_step(
        self,
        step_id: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """:meth:`run` for a function made by ``@step``, all of whose keywords are its own."""
        function, options = unwrapped(function, self._options)
        return self._context.ask(_of_function(Kind.RUN, step_id, function, args, kwargs, options))

    def start(
        self, step_id: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> BranchHandle:
        """Have ``function`` run beside the body, in a delivery of its own.

        Takes what :meth:`run` takes. Returns a handle for :meth:`gather`; nothing waits yet.
        """
        ask = self._call(Kind.BRANCH, step_id, function, args, kwargs)
        return BranchHandle(self._context, self._context.start(ask))

    def map(
        self,
        step_id: str,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        /,
        *,
        max_concurrency: int | None = None,
    ) -> Any:
        """``[function(item) for item in items]``, each item in a delivery of its own.

        At most ``max_concurrency`` of them at once. The values are in the order of the items.
        """
        limit: Any = max_concurrency
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TypeError(f"max_concurrency={limit!r} must be a whole number.")
        if limit is not None and limit < 1:
            raise ValueError(f"max_concurrency={limit!r} must be at least 1.")
        handles = []
        for item in items:
            ask = self._call(Kind.BRANCH, step_id, function, (item,), {})
            ask.limit = limit
            handles.append(BranchHandle(self._context, self._context.start(ask)))
        return self.gather(*handles)

    def gather(self, *handles: BranchHandle | ChildHandle, return_exceptions: bool = False) -> Any:
        """The values of what was started, in this order, once all of it has ended.

        The first of them, in this order, that has failed is raised; with ``return_exceptions`` the
        exceptions stand in the list in the places of the values.
        """
        for handle in handles:
            given: Any = handle
            if not isinstance(given, (BranchHandle, ChildHandle)):
                raise TypeError(
                    f"gather takes what step.start or step.start_workflow returned, not {given!r}."
                )
        if self._context.is_async:
            return joins.gather_later(self._context, handles, return_exceptions)
        return joins.gather(self._context, handles, return_exceptions)

    # --- time -----------------------------------------------------------------------------------

    def sleep(
        self,
        step_id: str,
        duration: Duration | None = None,
        /,
        **units: float,
    ) -> Any:
        """Pause the run: seconds, a timedelta, ``"5m"``, or ``minutes=5`` (also seconds … weeks).

        Nothing runs meanwhile, and the instant of waking is what is recorded.
        """
        pause = duration_of(duration, units)
        return self._context.ask(
            Ask(kind=Kind.SLEEP, step_id=check_id(step_id), due=lambda now: now + pause)
        )

    def sleep_until(self, step_id: str, when: datetime | float | str, /) -> Any:
        """Pause the run until an instant; one that has passed is no pause.

        A datetime without a zone is in the site's TIME_ZONE.
        """
        from django_qstash.tasks.options import instant

        moment = instant(when)
        return self._context.ask(
            Ask(kind=Kind.SLEEP, step_id=check_id(step_id), due=lambda _: moment)
        )

    # --- waiting for others ---------------------------------------------------------------------

    def wait_for_signal(self, name: str, /, *, timeout: Duration | None = None) -> Any:
        """Wait for ``run.signal(name, data)``: a :class:`Received`, false when the time ran out.

        Signals of one name that came before are kept, and are received in their order.
        """
        ask = Ask(kind=Kind.SIGNAL, step_id=check_id(name), target=name, due=self._until(timeout))
        ask.shape = Received.of(name)
        return self._context.ask(ask)

    def wait_for_event(self, step_id: str, /, key: str, *, timeout: Duration | None = None) -> Any:
        """Wait for ``notify(key, data)``, which all runs that wait for ``key`` receive.

        Only what is sent after this run began counts. A :class:`Received`, as for signals.
        """
        check_name(key, "An event's key")
        ask = Ask(kind=Kind.EVENT, step_id=check_id(step_id), target=key, due=self._until(timeout))
        ask.shape = Received.of(key)
        return self._context.ask(ask)

    # --- others' work ---------------------------------------------------------------------------

    def run_workflow(
        self,
        step_id: str,
        /,
        workflow: Any,
        data: Any = None,
        *,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Run another workflow as a child of this run, and return its result.

        ``workflow`` is the decorated function or its name. A canceled run takes its children along.

        Raises :class:`RunFailed`, :class:`RunCanceled`, or :class:`RunTimeout` when the child has
        not ended within ``timeout``; it goes on all the same.
        """
        ask = self._child(Kind.CHILD, step_id, workflow, data, idempotency_key)
        ask.due = self._until(timeout)
        return self._context.ask(ask)

    def start_workflow(
        self,
        step_id: str,
        /,
        workflow: Any,
        data: Any = None,
        *,
        idempotency_key: str | None = None,
    ) -> Any:
        """Start another workflow as a child and go on: a :class:`ChildHandle`, its run id."""
        ask = self._child(Kind.START, step_id, workflow, data, idempotency_key)
        context, name = self._context, ask.target
        ask.shape = lambda run_id: ChildHandle(run_id, context, step_id, name)
        return self._context.ask(ask)

    def task(self, step_id: str, task: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Send a task, or a chain or chord, as its own message, and wait for its value.

        Takes a task with its arguments, or a signature. Its retries are its own.

        Raises :class:`StepFailed` when it has failed.
        """
        signature = _signature(task, args, kwargs)
        return self._context.ask(
            Ask(
                kind=Kind.TASK,
                step_id=check_id(step_id),
                target=str(signature.task),
                input_hash=hash_of(signature.args, signature.kwargs),
                payload=signature,
                options=self._options,
                due=self._until(None),
            )
        )

    def call(
        self,
        step_id: str,
        /,
        url: str,
        *,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration = 30,
        verify: bool | None = None,
        raise_for_status: bool = True,
        via: str = "process",
    ) -> Any:
        """Call an HTTP service: ``{"status_code", "data", "headers"}``, also read as attributes.

        ``body`` is sent as JSON, text and bytes as they are; ``data`` is the answer's JSON, or else
        its text. An answer other than 2xx is tried again as the policy says, then raised, unless
        ``raise_for_status=False``. An ``Idempotency-Key`` header is the same for all attempts. What
        is in ``headers`` is never stored. ``timeout`` is a duration. No redirect is followed.

        ``via="qstash"``: QStash makes the call, while nothing of this site runs. If it could not
        bring the answer, the sweep has it made again, twice at most, under the same key; not where
        the policy allows one attempt.
        """
        from django_qstash.workflows.calls import Call, CallResult

        call = Call.of(
            url,
            method=method,
            body=body,
            headers=headers,
            timeout=timeout,
            verify=verify,
            raise_for_status=raise_for_status,
            via=via,
        )
        return self._context.ask(
            Ask(
                kind=Kind.CALL,
                step_id=check_id(step_id),
                target=f"{call.method} {via}",
                input_hash=hash_of([call.url, call.method, body], {}),
                payload=call,
                options=self._options,
                shape=CallResult.of,
            )
        )

    # --- recorded values ------------------------------------------------------------------------

    def now(self, step_id: str = "now", /) -> Any:
        """The time, recorded; an aware datetime in UTC."""
        return self._value(step_id, "now", clock.now)

    def uuid(self, step_id: str = "uuid", /) -> Any:
        """A random UUID, recorded."""
        return self._value(step_id, "uuid", uuid.uuid4)

    def random(self, step_id: str = "random", /) -> Any:
        """A random number from 0 up to 1, recorded."""
        return self._value(step_id, "random", random.random)

    # --- within ---------------------------------------------------------------------------------

    def _value(self, step_id: str, target: str, function: Callable[[], Any]) -> Any:
        return self._context.ask(
            Ask(kind=Kind.VALUE, step_id=check_id(step_id), target=target, function=function)
        )

    def _call(
        self,
        kind: str,
        step_id: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Ask:
        function, options = unwrapped(function, self._options)
        if not callable(function):
            raise TypeError(
                f"Step {step_id!r} is given {function!r}, which cannot be called: pass the "
                "function and its arguments, as in step.run('pay', pay, order_id)."
            )
        if kwargs and (given := {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}):
            refuse_ambiguous(step_id, function, given)
            options = step_options(
                given.get("retries"),
                given.get("retry"),
                given.get("timeout"),
                given.get("atomic", False),
                otherwise=options,
            )
        return _of_function(kind, step_id, function, args, kwargs, options)

    def _child(
        self, kind: str, step_id: str, workflow: Any, data: Any, idempotency_key: str | None
    ) -> Ask:
        from django_qstash.workflows.definition import find_workflow

        found = find_workflow(workflow)
        data = found.bind_data(data)
        return Ask(
            kind=kind,
            step_id=check_id(step_id),
            target=found.name,
            payload=data,
            input_hash=hash_of([data], {}),
            idempotency_key=idempotency_key,
            options=self._options,
        )

    def _until(self, timeout: Duration | None) -> Callable[[float], float | None]:
        pause = self._options.timeout if timeout is None else durations.seconds(timeout)
        return lambda now: None if pause is None else now + pause


def _of_function(
    kind: str,
    step_id: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: StepOptions,
) -> Ask:
    return Ask(
        kind=kind,
        step_id=check_id(step_id),
        function=function,
        args=args,
        kwargs=kwargs,
        options=options,
        input_hash=hash_of(args, kwargs),
    )


def _signature(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    from django_qstash.tasks.canvas import Signature, group
    from django_qstash.tasks.registry import tasks

    if isinstance(task, str):
        task = tasks.find(task)
    if isinstance(task, dict) and not isinstance(task, Signature):
        task = Signature.from_dict(task)
    if isinstance(task, group):
        raise TypeError("step.task takes a group only with a body: make it a chord.")
    if isinstance(task, Signature):
        if args or kwargs:
            task = task.clone(args, kwargs)
        return task.clone()
    if not hasattr(task, "s"):
        raise TypeError(f"step.task takes a task, its name, or a signature, not {task!r}.")
    return task.s(*args, **kwargs)
