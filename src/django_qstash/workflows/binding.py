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
    """The input of one workflow: of a body ``(ctx)`` any value, of ``(ctx, a, b=1)`` a dict.

    Where ``input=`` makes something of it, that is what has to fit the body's parameters.
    """

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
                f"The workflow {self.name} takes no ctx: write def {_name_of(self._function)}(ctx)."
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

    @property
    def has_model(self) -> bool:
        """True if ``input=`` is a pydantic model."""
        return hasattr(self._model, "model_validate")

    def of_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The input that a call such as ``.delay(7, note="x")`` gives. Raises ``TypeError``."""
        if self.is_named and self._model is not None:
            return self._named(args, kwargs)
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
        """The input that ``trigger(data)`` gives: a dict is bound by name. Raises ``TypeError``.

        With ``input=`` the dict stays as it is: what that makes of it is bound.
        """
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

    def check(self, data: Any) -> None:
        """Raises :class:`InputValidationError`, or ``TypeError``, for what fits no run."""
        made = self.validated(data)
        if self._model is None or not self.is_named:
            return
        args, kwargs = self.arguments(made)
        if self.has_model and (unread := _unread(made, data)):
            raise TypeError(
                f"{self.name}() got {', '.join(unread)}, which {type(made).__name__} does not "
                f"read; it reads {', '.join(_keys(type(made)))}."
            )
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{self.name}() {error}: its input= gives {', '.join(kwargs) or 'nothing'}. Name "
                "the same as parameters, or take ctx alone and read ctx.data."
            ) from None

    def arguments(self, data: Any) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the body besides ``ctx``. Raises ``TypeError``."""
        if not self.is_named:
            return [], {}
        if hasattr(data, "model_dump"):
            fields = {name: getattr(data, name) for name in type(data).model_fields}
            data = {**fields, **(data.model_extra or {})}
        if not isinstance(data, Mapping) and data is not None:
            raise TypeError(
                f"{self.name}() takes its input by name, and its input= made a "
                f"{type(data).__name__} of it: return a dict or a pydantic model, or take ctx "
                "alone and read ctx.data."
            )
        given = dict(data or {})
        args = [
            given.pop(parameter.name)
            for parameter in self.signature.parameters.values()
            if parameter.kind == inspect.Parameter.POSITIONAL_ONLY and parameter.name in given
        ]
        return args, given

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What ``input=`` is given: it may know other names than the body has."""
        try:
            first = self.signature.bind_partial(*args).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        if twice := first.keys() & kwargs.keys():
            raise TypeError(f"{self.name}() got {', '.join(sorted(twice))} twice.")
        return {**first, **kwargs}

    def _flat(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self.signature.parameters[name].kind == inspect.Parameter.VAR_KEYWORD:
                flat.update(value)
            else:
                flat[name] = value
        return flat


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", None) or "body"


# --- pydantic models ------------------------------------------------------------------------------


def _unread(made: Any, data: Any) -> list[str]:
    """Keys of ``data`` that no field of the model was read from, as a misspelled one.

    A model that says ``extra="ignore"``, or that rewrites what it is given, decides for itself; but
    not of the names of its own fields, which would silently have their defaults.
    """
    kind: Any = type(made)
    if not isinstance(data, Mapping) or getattr(kind, "__pydantic_root_model__", False):
        return []
    read = set(made.model_extra or ())
    for name in made.model_fields_set & kind.model_fields.keys():
        read |= {name, *_aliases(kind.model_fields[name])}
    unread = [str(key) for key in data if key not in read]
    if kind.model_config.get("extra") == "ignore" or _rewrites(kind):
        return [key for key in unread if key in kind.model_fields]
    return unread


def _keys(kind: Any) -> list[str]:
    """What a model's fields are read from."""
    return [key for name, field in kind.model_fields.items() for key in _aliases(field) or [name]]


def _aliases(field: Any) -> list[str]:
    alias = field.validation_alias
    choices = getattr(alias, "choices", [alias])
    firsts = [getattr(each, "path", [each])[0] for each in choices]
    return [str(first) for first in firsts if first is not None]


def _rewrites(kind: Any) -> bool:
    """True if a validator of the whole model sees what it is given before its fields do."""
    found = getattr(kind, "__pydantic_decorators__", None)
    validators = found.model_validators.values() if found is not None else ()
    return any(validator.info.mode != "after" for validator in validators)
