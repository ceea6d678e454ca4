"""What a workflow is given: one JSON value, and how a call becomes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from django_qstash.exceptions import InputValidationError

_BY_NAME = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.POSITIONAL_ONLY,
)


class Input:
    """The input of one workflow: of a body ``(ctx)`` any value, of ``(ctx, a, b=1)`` a dict."""

    def __init__(self, name: str, function: Callable[..., Any], model: Any = None) -> None:
        self.name = name
        self._function = function
        self._model = model

    @cached_property
    def signature(self) -> inspect.Signature:
        """The parameters of a call, without ``ctx``. Raises ``TypeError`` for a body that has none,
        or that takes ``*args``, which have no names."""
        parameters = list(inspect.signature(self._function).parameters.values())
        if not parameters or parameters[0].kind not in _BY_NAME[::2]:
            raise TypeError(
                f"The workflow {self.name} takes no ctx: write def {self._function.__name__}(ctx)."
            )
        rest = parameters[1:]
        if any(parameter.kind == inspect.Parameter.VAR_POSITIONAL for parameter in rest):
            raise TypeError(
                f"The workflow {self.name} takes *args; its input is bound by name, so name them."
            )
        return inspect.Signature(rest)

    @property
    def is_named(self) -> bool:
        """True if the body has parameters besides ``ctx``."""
        return bool(self.signature.parameters)

    def of_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The input that a call such as ``.delay(7, note="x")`` gives. Raises ``TypeError``."""
        if self.is_named:
            try:
                bound = self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.name}() {error}") from None
            return self._flat(bound)
        if args and kwargs:
            raise TypeError(
                f"{self.name}() takes one value as its input, or keyword arguments; not both."
            )
        if len(args) > 1:
            raise TypeError(f"{self.name}() takes one value as its input, not {len(args)}.")
        return args[0] if args else (dict(kwargs) or None)

    def of_data(self, data: Any) -> Any:
        """The input that ``trigger(data)`` gives: a dict is bound by name. Raises ``TypeError``."""
        if not self.is_named:
            return data
        if data is None:
            return self.of_call((), {})
        if isinstance(data, Mapping):
            return self.of_call((), {str(name): value for name, value in data.items()})
        return self.of_call((data,), {})

    def validated(self, data: Any) -> Any:
        """What the body gets as ``ctx.data``: ``data`` as ``input=`` makes it.

        Raises :class:`InputValidationError` for what it does not accept.
        """
        if self._model is None:
            return data
        validate = getattr(self._model, "model_validate", None) or self._model
        try:
            return validate(data)
        except Exception as error:
            raise InputValidationError(f"The input of {self.name} is refused: {error}") from error

    def arguments(self, data: Any) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the body besides ``ctx``. Raises ``TypeError``."""
        if not self.is_named:
            return [], {}
        if hasattr(data, "model_dump"):
            data = {name: getattr(data, name) for name in type(data).model_fields}
        given = dict(data or {})
        args = [
            given.pop(parameter.name)
            for parameter in self.signature.parameters.values()
            if parameter.kind == inspect.Parameter.POSITIONAL_ONLY and parameter.name in given
        ]
        return args, given

    def _flat(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self.signature.parameters[name].kind == inspect.Parameter.VAR_KEYWORD:
                flat.update(value)
            else:
                flat[name] = value
        return flat
