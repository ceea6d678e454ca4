"""Python values to JSON text and back: kombu's tagged types, and those that kombu refuses.

A value that JSON has no word for becomes ``{"__type__": name, "__value__": …}``, as in kombu 5.
Tuples come back as lists, other mappings as dicts, integer keys as strings. Text is ASCII only, so
that NUL and lone surrogates are stored alike by every database.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils.functional import Promise

from django_qstash.exceptions import EncodeError

TYPE = "__type__"
VALUE = "__value__"
#: How deep an error looks for the place that is to blame.
MAX_SEARCH = 50


def _encode_bytes(value: bytes) -> dict[str, str]:
    try:
        return {TYPE: "bytes", VALUE: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {TYPE: "base64", VALUE: base64.b64encode(value).decode("ascii")}


def _encode_timedelta(value: timedelta) -> dict[str, Any]:
    return {TYPE: "timedelta", VALUE: [value.days, value.seconds, value.microseconds]}


def _encode_set(value: set[Any] | frozenset[Any]) -> dict[str, Any]:
    # One set must give one text, whatever its order in memory: letters are compared and hashed.
    members: dict[str, Any] = {}
    for member in value:
        explicit = _tagged(member)
        text = _encoder.encode(explicit)
        # Raises TypeError for what would come back as something that no set can hold.
        hash(_hashable(_decoder.decode(text)))
        members[text] = explicit
    name = "set" if isinstance(value, set) else "frozenset"
    return {TYPE: name, VALUE: [members[text] for text in sorted(members)]}


#: The first class of which a value is an instance decides; datetime is a date, so it comes first.
_ENCODERS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (datetime, lambda value: {TYPE: "datetime", VALUE: value.isoformat()}),
    (date, lambda value: {TYPE: "date", VALUE: value.isoformat()}),
    (time, lambda value: {TYPE: "time", VALUE: value.isoformat()}),
    (timedelta, _encode_timedelta),
    (Decimal, lambda value: {TYPE: "decimal", VALUE: str(value)}),
    (UUID, lambda value: {TYPE: "uuid", VALUE: value.hex}),
    (bytes, _encode_bytes),
    (bytearray, lambda value: _encode_bytes(bytes(value))),
    (memoryview, lambda value: _encode_bytes(bytes(value))),
    (set, _encode_set),
    (frozenset, _encode_set),
    (Promise, str),
    (Mapping, dict),
)

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "datetime": lambda value: datetime.fromisoformat(_with_offset(value)),
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda value: timedelta(*value),
    "decimal": Decimal,
    "Decimal": Decimal,
    "uuid": lambda value: UUID(value["hex"] if isinstance(value, dict) else value),
    "bytes": lambda value: value.encode("utf-8"),
    "base64": lambda value: base64.b64decode(value.encode("ascii"), validate=True),
    "set": lambda value: set(map(_hashable, value)),
    "frozenset": lambda value: frozenset(map(_hashable, value)),
    "float": float,
    "dict": lambda value: dict(map(tuple, value)),
}


def _hashable(member: Any) -> Any:
    # A tuple inside a set went out as a list, and must not come back as one.
    return tuple(map(_hashable, member)) if isinstance(member, list) else member


def _with_offset(text: str) -> str:
    # Python 3.10 does not read the "Z" that other encoders write.
    return text[:-1] + "+00:00" if text.endswith("Z") else text


def _default(value: Any) -> Any:
    to_json = getattr(type(value), "__json__", None)
    if callable(to_json):
        return to_json(value)
    for kind, encode in _ENCODERS:
        if isinstance(value, kind):
            return encode(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _object_hook(value: dict[str, Any]) -> Any:
    if len(value) == 2 and TYPE in value and VALUE in value:
        decode = _DECODERS.get(value[TYPE]) if isinstance(value[TYPE], str) else None
        if decode is not None:
            try:
                return decode(value[VALUE])
            except (ValueError, TypeError, ArithmeticError, KeyError, AttributeError):
                return value
    return value


_encoder = json.JSONEncoder(
    default=_default, separators=(",", ":"), allow_nan=False, check_circular=True
)
_decoder = json.JSONDecoder(object_hook=_object_hook)
_plain_decoder = json.JSONDecoder()


def dumps(value: Any, *, what: str = "The value") -> str:
    """``value`` as compact ASCII JSON.

    Raises :class:`EncodeError` whose text begins with ``what`` and names the place inside it
    that JSON cannot carry.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(_complaint(value, what, error)) from None


def loads(text: str | bytes) -> Any:
    """The value that :func:`dumps` wrote. Raises ``ValueError`` for what is not JSON.

    Never imports or evaluates anything: an unknown tag stays a dict.
    """
    if not isinstance(text, str):
        text = str(text, "utf-8")
    try:
        return (_decoder if TYPE in text else _plain_decoder).decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _encode(value: Any) -> str:
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):
        # Not-a-number and infinity are rare enough to pay for them only here.
        return _encoder.encode(_tagged(value))
    if TYPE in text:
        # The value may hold a dict of the user's own that looks like one of our tags.
        return _encoder.encode(_tagged(value))
    return text


def _tagged(value: Any) -> Any:
    """A copy with everything that :func:`_default` would not be asked about made explicit."""
    if isinstance(value, float) and not math.isfinite(value):
        return {TYPE: "float", VALUE: str(float(value))}
    if isinstance(value, Mapping):
        items = [(_key(key), _tagged(item)) for key, item in value.items()]
        # A dict of the user's own that looks like a tag is carried as its items.
        return {TYPE: "dict", VALUE: items} if TYPE in value else dict(items)
    if isinstance(value, (list, tuple)):
        return [_tagged(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return _encode_set(value)
    return value


def _key(key: Any) -> str:
    """The text that JSON makes of a key. Raises ``TypeError`` or ``ValueError`` if it has none."""
    return key if isinstance(key, str) else next(iter(json.loads(_encoder.encode({key: 0}))))


def _complaint(value: Any, what: str, error: Exception) -> str:
    if isinstance(error, RecursionError) or "Circular reference" in str(error):
        return f"{what} contains itself or is nested too deeply for JSON."
    path, culprit, is_key = _culprit(value)
    where = f"{what} at {path}" if path else what
    if is_key:
        return f"{where} has the key {culprit!r}, which JSON cannot carry; use str keys."
    if isinstance(culprit, int):
        return f"{where} is a number of more digits than Python writes or reads."
    kind = culprit.__class__
    advice = "; pass its primary key instead" if hasattr(kind, "_meta") else ""
    return f"{where} is of the type {kind.__name__}, which JSON cannot carry{advice}."


def _culprit(value: Any, path: str = "", depth: int = 0) -> tuple[str, Any, bool]:
    """Where the innermost thing that cannot be encoded is, it, and whether it is a key there."""
    children: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        for key in value:
            if not _carries(_key, key):
                return path, key, True
        children = ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        children = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        children = ((f"{path}{{…}}", item) for item in value)
    for child_path, child in children:
        if depth < MAX_SEARCH and not _carries(_encode, child):
            return _culprit(child, child_path, depth + 1)
    return path, value, False


def _carries(encode: Callable[[Any], str], value: Any) -> bool:
    try:
        encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
