"""Our letter: what a message of ours says, whoever carries it.

A letter is JSON: ``v``, ``kind``, and for a task the field names of Celery's message protocol 2. A
field that has its default is left out. Everything in it is signed by QStash, so a delivery's
identity (task id, run, retries) is read here and nowhere else.
"""

from __future__ import annotations

import hashlib
import uuid
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, ClassVar

from django_qstash import serialization
from django_qstash.exceptions import MessageError, NewerMessageError

VERSION = 1


def new_id() -> str:
    """A random task id. Celery: ``celery.uuid``."""
    return str(uuid.uuid4())


def new_run() -> str:
    """A random run: one application of a task id."""
    return uuid.uuid4().hex


def derived_run(parent: str, relation: str, index: int | str = 0) -> str:
    """The run of what the run ``parent`` owes, the same however often it is derived.

    ``relation`` is what it is to its parent: ``"link"``, ``"chain"``, ``"body"`` …
    """
    text = f"{parent}\0{relation}\0{index}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


#: Fields of a letter that grow with what users put into them.
LARGE = ("args", "kwargs", "callbacks", "errbacks", "chain", "chord", "errback")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMessage:
    """A task's letter. ``(id, run, retries)`` says which letter it is; copies of it are equal
    but for ``p`` and ``life``."""

    kind: ClassVar[str] = "task"

    task: str
    id: str
    #: Which application of the task id this is.
    run: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    #: ISO 8601 instants, absolute.
    eta: str | None = None
    expires: str | None = None
    #: Hard and soft limit in seconds, as in Celery.
    timelimit: Sequence[float | None] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    shadow: str | None = None
    #: What is shown of the arguments instead of themselves.
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    ignore_result: bool | None = None
    #: Custom headers, as in ``apply_async(headers=…)``; they come back as ``request.headers``.
    headers: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    queue: str | None = None
    callbacks: Sequence[Any] = ()
    errbacks: Sequence[Any] = ()
    #: The rest of a chain, the next step last, as in Celery.
    chain: Sequence[Any] = ()
    chord: Mapping[str, Any] | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict)
    stamped_headers: Sequence[str] = ()
    replaced_task_nesting: int = 0
    #: The key of the join whose values are the first argument: this is a chord's body.
    header: str | None = None
    #: What an errback of the newer style is told: ``request``, ``exc``, ``tb``.
    errback: Mapping[str, Any] | None = None
    #: Where the store keeps what is too large to travel: the fields in ``LARGE``.
    stored: str | None = None
    #: The letter has been put on its FIFO queue.
    enqueued: bool = False
    #: QStash delivery options of this call; the decorator's come from the registry.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Copies of this letter that were sent because someone else was at work on it.
    p: int = 0
    #: How often QStash gave this letter up.
    life: int = 0
    #: The name of the schedule that this is a run of.
    schedule: str | None = None
    #: And its id, which it keeps when it is renamed.
    schedule_id: str | None = None

    @property
    def deduplication_id(self) -> str:
        """Equal for equal letters: QStash then keeps one of them, for ten minutes."""
        text = f"{self.id}\0{self.run}\0{self.retries}\0{self.life}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]

    def but(self, **changes: Any) -> TaskMessage:
        """A changed copy."""
        return replace(self, **changes)

    def emptied(self, key: str) -> TaskMessage:
        """A copy without what may be large, which is to be found under ``key``."""
        return self.but(
            stored=key,
            args=(),
            kwargs={},
            callbacks=(),
            errbacks=(),
            chain=(),
            chord=None,
            errback=None,
        )

    def large(self) -> dict[str, Any]:
        """The fields in ``LARGE`` that say something."""
        return {name: getattr(self, name) for name in LARGE if getattr(self, name)}

    def as_dict(self) -> dict[str, Any]:
        """The letter as plain values, defaults left out."""
        letter: dict[str, Any] = {"v": VERSION, "kind": self.kind}
        for name, default in _TASK_DEFAULTS.items():
            value = getattr(self, name)
            # An empty collection and an absent one mean the same.
            if value != default and (value or not isinstance(value, (tuple, list, dict))):
                # As JSON would have it: a letter is also read from what was never written as text.
                letter[name] = list(value) if isinstance(value, tuple) else value
        return letter

    def encode(self) -> bytes:
        """The body that is published. Raises :class:`EncodeError` naming the argument."""
        return serialization.dumps(self.as_dict(), what=f"The message of {self.task}").encode(
            "ascii"
        )

    @classmethod
    def from_dict(cls, letter: Mapping[str, Any]) -> TaskMessage:
        """The inverse of :meth:`as_dict`. Raises :class:`MessageError`."""
        values: dict[str, Any] = {}
        for name, expected in _TASK_TYPES.items():
            value = letter.get(name)
            if value is not None:
                values[name] = _checked(name, value, expected)
        for name in ("task", "id", "run"):
            if not values.get(name):
                raise MessageError(f"The letter names no {name!r}.")
        return cls(**values)


def _checked(name: str, value: Any, expected: type) -> Any:
    if not isinstance(value, expected) or isinstance(value, bool) is not (expected is bool):
        raise MessageError(f"The letter's {name!r} has a wrong type.")
    return value


_TASK_DEFAULTS: dict[str, Any] = {
    item.name: None if item.default is MISSING else item.default for item in fields(TaskMessage)
}
_TASK_TYPES: dict[str, type] = {
    "task": str,
    "id": str,
    "run": str,
    "args": list,
    "kwargs": dict,
    "retries": int,
    "eta": str,
    "expires": str,
    "timelimit": list,
    "root_id": str,
    "parent_id": str,
    "group": str,
    "group_index": int,
    "shadow": str,
    "argsrepr": str,
    "kwargsrepr": str,
    "ignore_result": bool,
    "headers": dict,
    "priority": int,
    "queue": str,
    "callbacks": list,
    "errbacks": list,
    "chain": list,
    "chord": dict,
    "stamps": dict,
    "stamped_headers": list,
    "replaced_task_nesting": int,
    "header": str,
    "errback": dict,
    "stored": str,
    "enqueued": bool,
    "options": dict,
    "p": int,
    "life": int,
    "schedule": str,
    "schedule_id": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowMessage:
    """A workflow's letter: ids only, since the database has the rest.

    ``(id, generation)`` continues a run; with ``step`` it runs one parallel branch, whose retries
    have the numbers ``retries``. Copies are equal but for ``p`` and ``life``.
    """

    kind: ClassVar[str] = "workflow"

    workflow: str
    #: The run's id.
    id: str
    generation: int = 0
    step: str = ""
    occurrence: int = 0
    retries: int = 0
    enqueued: bool = False
    p: int = 0
    life: int = 0

    @property
    def deduplication_id(self) -> str:
        """Equal for equal letters: QStash then keeps one of them, for ten minutes."""
        parts = (self.id, self.generation, self.step, self.occurrence, self.retries, self.life)
        text = "\0".join(map(str, ("workflow", *parts)))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]

    def but(self, **changes: Any) -> WorkflowMessage:
        """A changed copy."""
        return replace(self, **changes)

    def encode(self) -> bytes:
        """The body that is published."""
        letter: dict[str, Any] = {"v": VERSION, "kind": self.kind}
        for name, (key, _) in _WORKFLOW_KEYS.items():
            if value := getattr(self, name):
                letter[key] = value
        return serialization.dumps(letter).encode("ascii")

    @classmethod
    def from_dict(cls, letter: Mapping[str, Any]) -> WorkflowMessage:
        """The letter that :meth:`encode` wrote. Raises :class:`MessageError`."""
        values = {
            name: _checked(key, letter[key], expected)
            for name, (key, expected) in _WORKFLOW_KEYS.items()
            if letter.get(key) is not None
        }
        for name in ("workflow", "id"):
            if not values.get(name):
                raise MessageError(f"The letter names no {name!r}.")
        return cls(**values)


#: Each field's short name in the letter, and its type.
_WORKFLOW_KEYS: dict[str, tuple[str, type]] = {
    "workflow": ("workflow", str),
    "id": ("id", str),
    "generation": ("g", int),
    "step": ("step", str),
    "occurrence": ("o", int),
    "retries": ("n", int),
    "enqueued": ("enqueued", bool),
    "p": ("p", int),
    "life": ("life", int),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyMessage:
    """The payload of django-qstash 0.x, of which messages and schedules may still be in QStash.

    ``{function, module, args, kwargs, task_name, options, retries?, on_success?}``: it has no id of
    its own, so the delivery's message id stands in for one.
    """

    kind: ClassVar[str] = "legacy"

    function: str
    module: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    task_name: str = ""
    retries: int = 0
    on_success: Sequence[Any] = ()

    @property
    def task(self) -> str:
        return f"{self.module}.{self.function}"


_LEGACY_TYPES: dict[str, type] = {
    "function": str,
    "module": str,
    "args": list,
    "kwargs": dict,
    "task_name": str,
    "retries": int,
    "on_success": list,
}


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in a delivery's body. Raises :class:`MessageError`."""
    try:
        letter = serialization.loads(body)
    except ValueError as error:
        raise MessageError(f"The body is not JSON: {error}") from None
    if not isinstance(letter, dict):
        raise MessageError(f"The body is a JSON {type(letter).__name__}, not an object.")
    return letter


def source_of(callback: Mapping[str, Any]) -> bytes:
    """The body of the message that a failure callback is about. Raises :class:`MessageError`."""
    try:
        return b64decode(callback["sourceBody"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise MessageError("The failure callback holds no readable sourceBody.") from None


def kind_of(letter: Mapping[str, Any]) -> str:
    """``task``, ``workflow`` … or ``legacy`` for the older payload. Raises MessageError."""
    version, kind = letter.get("v"), letter.get("kind")
    if version is None and isinstance(letter.get("function"), str):
        return LegacyMessage.kind
    if type(version) is not int or version < 1 or not isinstance(kind, str):
        raise MessageError("The body is not a letter of django-qstash: it has no 'v' and 'kind'.")
    if version > VERSION:
        raise NewerMessageError(
            f"The letter is of version {version}, and this process understands up to {VERSION}: "
            "it was sent by a newer django-qstash."
        )
    return kind


def legacy(letter: Mapping[str, Any]) -> LegacyMessage:
    """The older payload. Raises :class:`MessageError`."""
    # There, what is empty was as good as absent.
    values = {
        name: _checked(name, letter[name], expected)
        for name, expected in _LEGACY_TYPES.items()
        if letter.get(name)
    }
    for name in ("function", "module"):
        if name not in values:
            raise MessageError(f"The letter names no {name!r}.")
    return LegacyMessage(**values)
