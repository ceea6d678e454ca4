"""``@shared_task`` and ``@stashed_task``: a function becomes a task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from django_qstash.exceptions import OptionError
from django_qstash.tasks import options as call_options
from django_qstash.tasks import retry, triggers
from django_qstash.tasks.configured import without_unset
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.task import Task
from django_qstash.tasks.validated import Models

if TYPE_CHECKING:
    from typing import Protocol

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

if TYPE_CHECKING:

    class _Decorate(Protocol):
        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    class _DecorateBound(Protocol):
        @overload
        def __call__(
            self, function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]], /
        ) -> Task[P, R]: ...
        @overload
        def __call__(self, function: Callable[Concatenate[S, P], R], /) -> Task[P, R]: ...

    class Decorator(Protocol):
        """What ``@shared_task`` and ``@app.task`` are to a type checker."""

        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
        @overload
        def __call__(self, *, bind: Literal[True], **options: Any) -> _DecorateBound: ...
        @overload
        def __call__(self, *, bind: Literal[False] = False, **options: Any) -> _Decorate: ...


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> _DecorateBound: ...
@overload
def shared_task(*, bind: Literal[False] = False, **options: Any) -> _Decorate: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """Make a function a task: ``@shared_task``, or with options ``@shared_task(bind=True, …)``.

    ``name`` (by default the function's module and name), ``bind`` (the task is the first argument),
    ``base`` (a subclass of :class:`Task`), ``pydantic`` (arguments annotated as models become such;
    with ``pydantic_strict``, ``pydantic_context``, ``pydantic_dump_kwargs``); all other options
    become attributes of the task.

    Raises ``TypeError`` for what is not a function or is a task already, :class:`OptionError` for
    an option whose value QStash would refuse. Celery: ``shared_task``.
    """
    if len(args) > 1 or (args and options):
        raise TypeError("shared_task takes one function, or keyword options only.")
    if args:
        return make_task(args[0])
    return functools.partial(_decorate, options)


#: The same under a name of its own, for sites where Celery's ``shared_task`` lives on beside it.
stashed_task = shared_task


def _decorate(options: dict[str, Any], function: Any) -> Task[..., Any]:
    return make_task(function, **options)


def make_task(
    function: Any,
    *,
    name: str | None = None,
    bind: bool = False,
    base: type[Task[..., Any]] | None = None,
    app: Any = None,
    **options: Any,
) -> Task[..., Any]:
    """The task made of ``function``, registered; see :func:`shared_task`.

    ``app`` is the ``Celery`` object that makes it.
    """
    if isinstance(function, Task):
        raise TypeError(f"{function!r} is a task already; decorate the function once.")
    if not callable(function):
        raise TypeError(f"@shared_task takes a function, not {function!r}.")
    base = base or Task
    given: Any = base
    if not (isinstance(given, type) and issubclass(given, Task)):
        raise TypeError(f"base={base!r} is not a subclass of django_qstash.Task.")
    call_options.refuse_serializer(options.pop("serializer", None))
    if "deduplicated" in options:
        raise OptionError(
            "deduplicated is django-qstash 0.x's word for QStash's option; write "
            "content_based_deduplication=True."
        )
    if "deduplication_id" in options:
        raise OptionError(
            "deduplication_id on a task would make QStash drop all calls but the first of ten "
            "minutes; give it to apply_async, or use content_based_deduplication=True."
        )
    module, function_name = function.__module__, function.__name__
    full_name = name or f"{module}.{function_name}"
    if options.pop("pydantic", False):
        models = Models(
            function,
            full_name,
            strict=options.pop("pydantic_strict", False),
            context=options.pop("pydantic_context", None),
            dump_kwargs=options.pop("pydantic_dump_kwargs", None),
        )
        options["models"], function = models, models.body()
    triggers.check(name or function_name, options)
    attributes = {
        **without_unset(base, options),
        **({} if app is None else {"app_made_by": app}),
        "run": function if bind else staticmethod(function),
        "name": full_name,
        "abstract": False,
        "__module__": module,
        "__doc__": function.__doc__,
        "__wrapped__": function,
        "__name__": function_name,
        "__qualname__": getattr(function, "__qualname__", function_name),
    }
    task = type(function_name, (base,), attributes)()
    retry.check(task)
    task.delivery_options()  # a wrong option is found here, where it was written
    task.options_changed()  # settings of a Celery object that count as well may still come
    return tasks.register(task)
