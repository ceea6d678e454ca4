"""``@workflow`` and ``@step``: functions that survive."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import OptionError
from django_qstash.tasks import triggers
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.task import Task
from django_qstash.workflows import declaring
from django_qstash.workflows.context import current_context
from django_qstash.workflows.definition import Workflow
from django_qstash.workflows.names import check_id
from django_qstash.workflows.options import step_options
from django_qstash.workflows.policy import RetryPolicy, make_policy
from django_qstash.workflows.replay import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django_qstash.workflows.asks import StepOptions


#: Options whose names mean something else on a task.
_RENAMED = {
    "timeout": "run_timeout",
    "on_failure": "on_failure_hook",
    "input": "input_model",
    "cron_timezone": "timezone",
}
_OWN = frozenset(
    {
        "base_url",
        "cron",
        "timezone",
        "overlap",
        "failure_url",
        "flow_control",
        "initial_payload_parser",
        "label",
        "queue",
        "rate_limit",
        "strict",
        "typing",
        "verbose",
        "version",
        "priority",
        "expires",
        "redact",
        "ignore_result",
        "account",
    }
)


def workflow(name: Any = None, /, **options: Any) -> Any:
    """Make a function a workflow: ``@workflow``, or ``@workflow("name", retries=2, …)``.

    ``name`` (also ``workflow_id``; by default the function's module and name) · ``retries``,
    ``max_attempts`` or ``retry=RetryPolicy(…)``: how its body, and steps that say nothing else, are
    tried · ``timeout``: how long a run may take · ``time_budget``: seconds for which one delivery
    goes on · ``max_concurrency``: deliveries at work at once · ``queue``, ``label``,
    ``flow_control``, ``cron``, ``timezone``, ``overlap``: as for tasks · ``on_failure(ctx)`` or
    ``failure_url``: what hears of a failed run · ``input``: a callable or pydantic model that
    checks the input · ``version``: a mark kept with each run · ``strict``: other arguments of a
    finished step are an error.

    Raises ``TypeError`` for what is not a function, and for an option that does not exist or has a
    value of another kind; ``ValueError`` or :class:`OptionError` for a wrong value.
    """
    if name is None or isinstance(name, str):
        named = {"name": name} if name is not None else {}
        if named and {"name", "workflow_id"} & options.keys():
            raise TypeError("The workflow's name is given twice.")
        return functools.partial(_decorate, {**options, **named})
    if options:
        raise TypeError("workflow takes one function, or a name and options.")
    return make_workflow(name)


def define_workflow(name: str, *, handler: Callable[..., Any], **options: Any) -> Workflow:
    """``@workflow(name, **options)`` on ``handler``, without the decorator."""
    return make_workflow(handler, name=name, **options)


def _decorate(options: dict[str, Any], function: Any) -> Workflow:
    return make_workflow(function, **options)


def make_workflow(
    function: Any,
    *,
    name: str | None = None,
    workflow_id: str | None = None,
    retries: int | None = None,
    max_attempts: int | None = None,
    retry: RetryPolicy | None = None,
    max_concurrency: int | None = None,
    time_budget: Any = None,
    **options: Any,
) -> Workflow:
    """The workflow made of ``function``, registered; see :func:`workflow`."""
    if isinstance(function, Task):
        raise TypeError(f"{function!r} is registered already; decorate the function once.")
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"@workflow takes a function, not {function!r}.")
    if name is not None and workflow_id is not None and name != workflow_id:
        raise TypeError(f"name={name!r} and workflow_id={workflow_id!r} are one thing; give one.")
    unknown = options.keys() - _OWN - _RENAMED.keys()
    if unknown:
        raise TypeError(f"@workflow knows no option {', '.join(sorted(unknown))}.")
    name = workflow_id if name is None else name
    module, function_name = declaring.own_name(function, name)
    name = declaring.checked_name(f"{module}.{function_name}" if name is None else name)
    attributes = _attributes(name, options)
    if time_budget is not None:
        attributes["time_budget"] = declaring.positive(f"time_budget of {name}", time_budget)
    if max_concurrency is not None:
        attributes["flow_control"] = _bounded(name, max_concurrency, options)
        attributes["max_concurrency"] = max_concurrency
    policy = make_policy(
        retries=retries, max_attempts=max_attempts, retry=retry, otherwise=Workflow.policy
    )
    attributes |= {
        "policy": policy,
        "function": staticmethod(function),
        "run": staticmethod(function),
        "name": name,
        "abstract": False,
        "__module__": module,
        # That of a partial, or of an object's class, speaks of something else.
        "__doc__": function.__doc__ if hasattr(function, "__name__") else None,
        "__wrapped__": function,
        "__name__": function_name,
        "__qualname__": getattr(function, "__qualname__", function_name),
    }
    made: Workflow = type(function_name, (Workflow,), attributes)()
    # What is wrong with them is found here, where it was written.
    _ = made.input.signature, made.delivery_options()
    tasks.register(made)
    return made


def _attributes(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The class attributes that options become. Raises ``TypeError`` and ``ValueError``."""
    if {"timezone", "cron_timezone"} <= options.keys():
        raise TypeError(f"timezone and cron_timezone of {name} are one thing; give one.")
    attributes: dict[str, Any] = {
        _RENAMED.get(option, option): declaring.checked(name, option, value)
        for option, value in options.items()
    }
    triggers.check(name, attributes)
    if attributes.get("input_model") is not None:
        if not callable(attributes["input_model"]):
            raise TypeError(f"input of {name} must be a callable or a pydantic model.")
        if is_async(attributes["input_model"]):
            raise TypeError(
                f"input of {name} is async; it is called where a run is started as well, so give "
                "a plain function."
            )
        attributes["input_model"] = staticmethod(attributes["input_model"])
    if attributes.get("version") is None:
        attributes["version"] = ""
    return attributes


def _bounded(name: str, limit: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """``max_concurrency`` as QStash's flow control, keyed by the workflow's name."""
    from django_qstash.tasks.options import flow_key

    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(
            f"max_concurrency={limit!r} of {name} must be a whole number of at least 1."
        )
    own = dict(options.get("flow_control") or {})
    if "parallelism" in own:
        raise OptionError(
            f"{name}: max_concurrency and flow_control's parallelism say the same; give one."
        )
    return {"key": flow_key(name), **own, "parallelism": limit}


def step(function: Any = None, /, **options: Any) -> Any:
    """Make a function a step wherever a workflow calls it: ``@step`` or ``@step(retries=5, …)``.

    ``name`` is the step's id (by default the function's name), ``retries``, ``retry``, ``timeout``
    and ``atomic`` are the options of ``ctx.step.options``. Outside of a workflow's body, also
    inside another step, it is the plain function.
    """
    if function is None:
        return functools.partial(_make_step, **options)
    if options or not callable(function):
        raise TypeError("step takes one function, or keyword options only.")
    return _make_step(function)


def _make_step(
    function: Any,
    *,
    name: str | None = None,
    retries: int | None = None,
    retry: RetryPolicy | None = None,
    timeout: Any = None,
    atomic: bool = False,
) -> Any:
    if not callable(function):
        raise TypeError(f"@step takes a function, not {function!r}.")
    options: StepOptions = step_options(retries, retry, timeout, atomic)
    step_id = getattr(function, "__name__", None) if name is None else name
    if step_id is None:
        raise TypeError(f"{function!r} has no name of its own; give one: step(name='pay')(…).")
    check_id(step_id)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        context = current_context()
        if context is None:
            return function(*args, **kwargs)
        return context.step.call_step(step_id, called, args, kwargs)

    called.step_options = options  # type: ignore[attr-defined]
    called.step_id = step_id  # type: ignore[attr-defined]
    return called
