"""A workflow: a task whose body can pause, found by its name."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import NotRegistered, OptionError, UnknownWorkflowError
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store
from django_qstash.tasks.task import Task
from django_qstash.workflows import persistence, replay
from django_qstash.workflows.binding import Input
from django_qstash.workflows.context import Context
from django_qstash.workflows.policy import RetryPolicy

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Mapping, Sequence

    from django_qstash.messages import TaskMessage
    from django_qstash.tasks import execute
    from django_qstash.wire.delivery import Delivery, Reply
    from django_qstash.workflows.handles import RunHandle


class Workflow(Task[..., Any]):
    """A task whose body can pause: it has a name in the same registry, and comes in by one door."""

    #: How steps that say nothing, and the body itself, are tried.
    policy: RetryPolicy = RetryPolicy()
    #: Seconds after which a run has failed; ``None``: it may take for ever.
    run_timeout: float | None = None
    #: Seconds for which one delivery goes on; ``None``: DJANGO_QSTASH_WORKFLOW_TIME_BUDGET.
    time_budget: float | None = None
    #: Deliveries at work at once, which ``flow_control`` says to QStash.
    max_concurrency: int | None = None
    on_failure_hook: Callable[[Context], Any] | None = None
    failure_url: str | None = None
    version: str = ""
    verbose: bool | None = None
    base_url: str | None = None
    strict: bool = False
    initial_payload_parser: Callable[[str], Any] | None = None
    input_model: Any = None

    function: Callable[..., Any]

    # --- calling ------------------------------------------------------------------------------

    def trigger(
        self,
        data: Any = None,
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
        delay: Any = None,
        run_at: Any = None,
        label: Any = None,
        flow_control: Mapping[str, Any] | None = None,
        queue: str | None = None,
        account: str | None = None,
    ) -> RunHandle:
        """Start a run with one JSON value as its input; a text that is the run's id.

        The run is written in the caller's transaction and sent when that commits. A ``run_id`` or
        ``idempotency_key`` that is there already gives that run. ``delay`` is a duration,
        ``run_at`` an instant; ``account`` names one of DJANGO_QSTASH_ACCOUNTS. Where no database
        keeps runs it is sent at once, like a task.

        Raises ``TypeError`` for input that does not fit the body, :class:`InputValidationError`,
        :class:`IdempotencyConflict` for other data under the same id or key,
        :class:`PublishError` when QStash cannot be reached: there is no run then.
        :class:`OptionError` for a ``flow_control`` where the workflow has ``max_concurrency``.
        """
        self._check_flow_control(flow_control)
        if persistence.is_on():
            from django_qstash.workflows.trigger import trigger
        else:
            from django_qstash.workflows.carried.trigger import trigger

        return trigger(
            self,
            self.bind_data(data),
            run_id=run_id,
            idempotency_key=idempotency_key,
            when={"delay": delay, "run_at": run_at},
            options={"label": label, "flow_control": flow_control, "account": account},
            queue=queue,
        )

    async def atrigger(self, data: Any = None, **options: Any) -> RunHandle:
        """:meth:`trigger` for async code."""
        from asgiref.sync import sync_to_async

        return await sync_to_async(self.trigger)(data, **options)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Start a run as one would send a task; ``task_id`` becomes the run's id.

        Takes the options of :meth:`Task.apply_async`, and refuses a ``flow_control`` as
        :meth:`trigger` does.
        """
        self._check_flow_control(options.get("flow_control"))
        if not persistence.is_on():
            from django_qstash.workflows.carried.trigger import handle_of

            return handle_of(super().apply_async(args, kwargs, task_id, **options))
        from django_qstash.workflows.trigger import trigger_as_task

        return trigger_as_task(self, args, kwargs, {**options, "task_id": task_id})

    def _check_flow_control(self, own: Any) -> None:
        if own is not None and self.max_concurrency is not None:
            raise OptionError(
                f"{self.name} has max_concurrency={self.max_concurrency}, which a flow_control of "
                "one run would take away: QStash goes by one key for each message. Leave one out."
            )

    def overrides_apply_async(self) -> bool:
        """False: in a canvas a workflow is sent like every task."""
        return False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here and now, in memory, as one would call a task: nothing is kept or sent.

        With a context as its first argument, the plain body.
        """
        if args and isinstance(args[0], Context):
            return self.function(*args, **kwargs)
        from django_qstash.workflows.memory import run_here

        return run_here(self, self.bind_call(args, kwargs))

    def body(self) -> Callable[..., Any]:
        return self

    # --- input --------------------------------------------------------------------------------

    @cached_property
    def input(self) -> Input:
        return Input(self.name, self.function, self.input_model)

    def bind_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The run's input for a call with these arguments.

        Raises ``TypeError`` and :class:`InputValidationError`.
        """
        data = self.input.of_call(args, kwargs)
        self.input.check(data)
        return data

    def bind_letter(self, message: TaskMessage) -> Any:
        """The run's input from a task's letter; for a chord's body its header's values come first.

        Raises as :meth:`bind_call`.
        """
        args = list(message.args)
        if message.header is not None:
            args.insert(0, get_store().header_values(message.header))
        return self.bind_call(args, message.kwargs)

    def bind_data(self, data: Any) -> Any:
        """The run's input for one value; raises as :meth:`bind_call`."""
        bound = self.input.of_data(data)
        self.input.check(bound)
        return bound

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if not self.typing:
            return
        data = self.input.of_call(args, kwargs)
        if self.input.has_model:
            # Unlike a function of the project's, it depends on nothing but the data.
            self.input.check(data)

    def check_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self.typing:
            self.bind_call(args, kwargs)

    def signature_of_run(self) -> inspect.Signature:
        return self.input.signature

    @property
    def hears_of_loss(self) -> bool:  # type: ignore[override] # here it depends on the site
        return not persistence.is_on()

    @cached_property
    def is_bound(self) -> bool:
        return False

    @cached_property
    def is_async(self) -> bool:
        return replay.is_async(self.function)

    # --- what arrives ---------------------------------------------------------------------------

    def take_over(
        self, message: TaskMessage, delivery: Delivery, forced: execute.Outcome | None
    ) -> Reply | execute.Outcome | None:
        """A task's letter for this workflow has come, from a canvas or a schedule: a run begins."""
        if persistence.is_on():
            from django_qstash.workflows.opening import open_letter
        else:
            from django_qstash.workflows.carried.engine import open_letter

        return open_letter(self, message, delivery, forced)

    def is_open(self, task_id: str, heard_within: float | None = None) -> bool | None:
        """True until the run has ended: its result is only written then."""
        if persistence.is_installed():
            from django_qstash.workflows.opening import is_open

            found = is_open(task_id, heard_within)
            if found is not None:
                return found
        return super().is_open(task_id, heard_within)

    def __repr__(self) -> str:
        return f"<@workflow: {self.name}>"


def find_workflow(workflow: Any) -> Workflow:
    """A workflow by itself or by its name. Raises :class:`UnknownWorkflowError`."""
    if isinstance(workflow, Workflow):
        return workflow
    if not isinstance(workflow, str):
        raise TypeError(f"A workflow or its name is wanted, not {workflow!r}.")
    try:
        found = tasks.find(workflow)
    except NotRegistered as error:
        said = str(error).replace("No task", "No workflow", 1)
        raise UnknownWorkflowError(said) from None
    if not isinstance(found, Workflow):
        raise UnknownWorkflowError(f"{workflow!r} is a task, not a workflow.")
    return found


def known(name: str) -> Workflow | None:
    """The workflow of this name; ``None`` for one that this site does not have any more."""
    try:
        return find_workflow(name)
    except UnknownWorkflowError:
        return None
