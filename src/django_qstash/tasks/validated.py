"""``pydantic=True``: arguments become the models that a body's annotations name, and back."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Union, get_args, get_origin, get_type_hints

from django_qstash.exceptions import ImproperlyConfigured

_UNIONS = (Union, types.UnionType)


class Models:
    """The models among a body's parameters and its result.

    The process that runs a task turns what JSON carried into models and the result back into plain
    values; the one that calls it may hand over models.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        strict: bool = False,
        context: Mapping[str, Any] | None = None,
        dump_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            from pydantic import BaseModel
        except ImportError:
            raise ImproperlyConfigured(
                f"pydantic=True on {name} needs pydantic: pip install pydantic"
            ) from None
        self._base: type[Any] = BaseModel
        self._function = function
        self._strict = strict
        self._context = {**(context or {}), "celery_task_name": name}
        self._dump_kwargs = {"mode": "json", **(dump_kwargs or {})}
        self._signature = inspect.signature(function)

    def body(self) -> Callable[..., Any]:
        """The function, with models for arguments and without one for a result."""
        function = self._function

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = self._validated(args, kwargs)
            return self._dumped_result(function(*bound.args, **bound.kwargs))

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            bound = self._validated(args, kwargs)
            return self._dumped_result(await function(*bound.args, **bound.kwargs))

        return run_async if inspect.iscoroutinefunction(function) else run

    def dumped(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, bound: bool
    ) -> tuple[list[Any], dict[str, Any]]:
        """A call's arguments with those models dumped that the body gets back as models."""
        names = [name for name, each in self._signature.parameters.items() if _is_positional(each)]
        names = names[1:] if bound else names
        # More arguments than names: the rest goes to *args.
        named = [*names[: len(args)], *[""] * (len(args) - len(names))]
        dump = self._dumped_argument
        return (
            [dump(name, value) for name, value in zip(named, args, strict=True)],
            {name: dump(name, value) for name, value in kwargs.items()},
        )

    def _validated(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            model = self._of_parameters.get(name)
            if model is not None and not (value is None and model.optional):
                bound.arguments[name] = model.kind.model_validate(
                    value, strict=self._strict, context=self._context
                )
        return bound

    def _dumped_argument(self, name: str, value: Any) -> Any:
        model = self._of_parameters.get(name)
        if model is not None and isinstance(value, model.kind):
            return value.model_dump(**self._dump_kwargs)
        return value

    def _dumped_result(self, value: Any) -> Any:
        model = self._of_result
        if model is not None and isinstance(value, model.kind):
            return value.model_dump(**self._dump_kwargs)
        return value

    # Looked up when they are first needed: an annotation may name what comes later in its module.

    @functools.cached_property
    def _of_parameters(self) -> dict[str, SimpleNamespace]:
        found = {
            name: self._model(parameter.annotation)
            for name, parameter in self._signature.parameters.items()
        }
        return {name: model for name, model in found.items() if model is not None}

    @functools.cached_property
    def _of_result(self) -> SimpleNamespace | None:
        return self._model(self._signature.return_annotation)

    def _model(self, annotation: Any) -> SimpleNamespace | None:
        """The model that an annotation names, maybe as ``Optional``; ``None`` for other types."""
        if isinstance(annotation, str):
            holder = SimpleNamespace(__annotations__={"it": annotation})
            names = getattr(inspect.unwrap(self._function), "__globals__", {})
            try:
                annotation = get_type_hints(holder, globalns=names)["it"]
            except NameError:
                # Imported for type checkers only: no model, or there would be none to make.
                return None
        choices = get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)
        kinds = [each for each in choices if each is not type(None)]
        if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], self._base):
            return SimpleNamespace(kind=kinds[0], optional=len(choices) > 1)
        return None


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
