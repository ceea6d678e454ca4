"""A call that has not been made: a dict in Celery's form, which JSON carries, with methods."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

from django_qstash.conf import settings
from django_qstash.messages import new_id
from django_qstash.tasks.registry import tasks as registry

#: Options that a call cannot replace once the signature has them.
_FIXED = frozenset({"group_id", "stamped_headers"})


def _item(key: str, doc: str) -> property:
    return property(
        lambda self: self[key], lambda self, value: self.__setitem__(key, value), doc=doc
    )


def _option(key: str, doc: str) -> property:
    return property(
        lambda self: self["options"].get(key),
        lambda self, value: self["options"].__setitem__(key, value),
        doc=doc,
    )


class Signature(dict[str, Any]):
    """A task's name, arguments and options, to be called later. Celery: ``Signature``."""

    TYPES: ClassVar[dict[str, type[Signature]]] = {}

    task = _item("task", "Name of the task.")
    args = _item("args", "Positional arguments.")
    kwargs = _item("kwargs", "Keyword arguments.")
    options = _item("options", "Execution options.")
    subtask_type = _item("subtask_type", "Kind of canvas, None for a plain task.")
    immutable = _item("immutable", "True if it takes no further arguments.")
    id = _option("task_id", "Task id, once frozen.")
    parent_id = _option("parent_id", "Id of the task that called it.")
    root_id = _option("root_id", "Id of the first task of all.")

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[Any], Any]:
        """Class decorator: ``name`` as ``subtask_type`` makes the decorated class."""

        def register(subclass: Any) -> Any:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:  # noqa: ARG003
        """The signature that a dict describes, as the class that its ``subtask_type`` names."""
        kind = cls.TYPES.get(d.get("subtask_type") or "", Signature)
        return kind.build(d)

    @classmethod
    def build(cls, d: Mapping[str, Any]) -> Signature:
        """The signature that a dict describes, of this class."""
        made = cls.__new__(cls)
        dict.__init__(
            made,
            task=d["task"],
            args=tuple(d.get("args") or ()),
            kwargs=cls._inner(dict(d.get("kwargs") or {})),
            options=_options(d.get("options") or {}),
            subtask_type=d.get("subtask_type"),
            immutable=bool(d.get("immutable", False)),
        )
        return made

    @classmethod
    def _inner(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments with the signatures in them made such."""
        return kwargs

    def __init__(
        self,
        task: Any = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,  # noqa: A002, ARG002 - Celery's name
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,  # noqa: ARG002
        **more: Any,
    ) -> None:
        if isinstance(task, dict):
            super().__init__(self.build(task))
            return
        super().__init__(
            task=task if isinstance(task, str) else task.name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    # --- changing -------------------------------------------------------------------------------

    def _merge(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Given arguments go before ours, keywords and options replace ours."""
        fixed = _FIXED | set(self.options.get("stamped_headers") or ())
        merged = dict(self.options)
        for name, value in (options or {}).items():
            if name not in fixed or name not in merged:
                merged[name] = value
        if self.immutable and not force:
            return tuple(self.args), self.kwargs, merged
        return (*(args or ()), *self.args), {**self.kwargs, **(kwargs or {})}, merged

    def clone(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """A copy, with further arguments and options."""
        new_args, new_kwargs, new_options = self._merge(args, kwargs, options)
        copy = type(self).__new__(type(self))
        dict.__init__(copy, self)
        copy.args, copy.kwargs, copy.options = new_args, dict(new_kwargs), deepcopy(new_options)
        copy.copy_inner()
        return copy

    partial = clone

    def copy_inner(self) -> None:
        """Copy the signatures within, where there are any."""

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """A copy in which what is given stands *instead* of ours."""
        copy = self.clone()
        if args is not None:
            copy.args = tuple(args)
        if kwargs is not None:
            copy.kwargs = dict(kwargs)
        if options is not None:
            copy.options = dict(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options in place, and return this signature."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        self.immutable = immutable

    def link(self, callback: Any) -> Any:
        """Have ``callback`` called with the result; returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Have ``errback`` called if this fails; returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """:meth:`link_error` that returns this signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add to an option that is a list, once."""
        items = self.options[key] = as_list(self.options.get(key))
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, values: Any) -> None:
        items = self.options[key] = as_list(self.options.get(key))
        items.extend(as_list(values))

    def flatten_links(self) -> list[Any]:
        """This signature, its callbacks, theirs and so on."""
        links = (maybe_signature(link) for link in as_list(self.options.get("link")))
        return [self, *itertools.chain.from_iterable(link.flatten_links() for link in links)]

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all tasks in it; the result that it will have.

        A frozen canvas may be applied twice: that is two runs of the same ids, as in Celery.
        """
        from django_qstash.tasks.plan import result_of

        self.fix_ids(_id)
        given = {
            "group_id": group_id,
            "root_id": root_id,
            "parent_id": parent_id,
            "group_index": group_index,
        }
        self.options.update({name: value for name, value in given.items() if value is not None})
        return result_of(self)

    def fix_ids(self, task_id: str | None) -> None:
        """Give an id to every task that has none; ``task_id`` to the last."""
        self.options.setdefault("task_id", task_id or new_id())

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Put stamps on it and on all within; see ``StampingVisitor``."""
        from django_qstash.tasks.stamping import stamp

        return stamp(self, visitor, append_stamps, headers)

    def stamp_links(self, visitor: Any, append_stamps: bool = False, **headers: Any) -> None:
        from django_qstash.tasks.stamping import stamp_links

        stamp_links(self, visitor, append_stamps, headers)

    # --- calling --------------------------------------------------------------------------------

    @property
    def type(self) -> Any:
        """The task. Raises :class:`NotRegistered`."""
        return registry.find(self.task)

    @property
    def name(self) -> str:
        return str(self.task)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task here and now, with the merged arguments."""
        merged_args, merged_kwargs, _ = self._merge(args, kwargs, None)
        return self.type(*merged_args, **merged_kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it with further arguments."""
        return self.apply_async(args, kwargs)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it here, as its deliveries would, and return its result."""
        from django_qstash.tasks.eager import apply

        return apply(self.clone(args, kwargs, **options))

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send it with further arguments and options; its result."""
        if settings.DJANGO_QSTASH_ALWAYS_EAGER:
            return self.apply(args, kwargs, **options)
        from django_qstash.tasks.launch import launch

        return launch(self.clone(args, kwargs, **options))

    def __invert__(self) -> Any:
        """``~sig``: send it and wait for its result."""
        return self.apply_async().get()

    # --- the algebra ----------------------------------------------------------------------------

    def __or__(self, other: Any) -> Any:
        from django_qstash.tasks.canvas.algebra import piped

        return piped(self, other)

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)

    # --- within ---------------------------------------------------------------------------------

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as text, with these further arguments."""
        merged_args, merged_kwargs, _ = self._merge(args, kwargs, None, force=True)
        words = [repr(value) for value in merged_args]
        words += [f"{name}={value!r}" for name, value in merged_kwargs.items()]
        return f"{self.task}({', '.join(words)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: Any) -> Any:
        # Arguments may be lazy, and are not changed by anybody; options are.
        return self.clone()

    def __copy__(self) -> Any:
        return self.clone()

    def __reduce__(self) -> Any:
        return signature, (dict(self),)


class Composite(Signature):
    """A signature made of others. Its arguments go to the first of them."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.apply_async(args, **options)


# --- making signatures ------------------------------------------------------------------------


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """A signature from a task, a task's name, a dict, or another signature (a copy of it)."""
    kwargs.pop("app", None)
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies)
    return Signature(varies, *args, **kwargs)


subtask = signature


def maybe_signature(d: Any, app: Any = None, clone: bool = False) -> Any:  # noqa: ARG001
    """``d`` itself if it is a signature or ``None``; the signature that a dict describes."""
    if isinstance(d, Signature):
        return d.clone() if clone else d
    if isinstance(d, dict):
        return Signature.from_dict(d)
    if d is None or not hasattr(d, "signature"):
        return d
    return d.signature()


maybe_subtask = maybe_signature


def certain_signature(d: Any) -> Any:
    """:func:`maybe_signature` of a part of a canvas. Raises ``TypeError`` if it is none."""
    found = maybe_signature(d)
    if isinstance(found, Signature):
        return found
    raise TypeError(f"{d!r} is no part of a canvas: give a signature, such as task.s(…).")


def as_list(value: Any) -> list[Any]:
    """``None`` as an empty list, a single value as a list of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy, its lists copied as well, so that a canvas never changes the dict it came from.

    Links become signatures, so that a canvas that went through JSON equals what it was.
    """
    copy = {
        name: list(value) if isinstance(value, list) else value for name, value in options.items()
    }
    for name in ("link", "link_error"):
        if copy.get(name):
            found = copy[name]
            copy[name] = (
                [maybe_signature(each) for each in found]
                if isinstance(found, (list, tuple))
                else maybe_signature(found)
            )
    return copy
