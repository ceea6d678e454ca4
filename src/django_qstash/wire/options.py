"""Delivery options, and how each stands in QStash's headers and schedules: the one table.

An option is known by its Python name; its value is kept in a form that JSON carries, so that a
letter can hold it. ``clean`` brings what a user wrote into that form, ``to_headers`` and
``from_headers`` are each other's inverse. No other file of the project names an ``Upstash-`` header
that configures a message (a test looks).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django_qstash import durations
from django_qstash.exceptions import OptionError

FORWARD = "Upstash-Forward-"
CALLBACK = "Upstash-Callback-"
FAILURE_CALLBACK = "Upstash-Failure-Callback-"
FLOW_KEY = "Upstash-Flow-Control-Key"
FLOW_VALUE = "Upstash-Flow-Control-Value"

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
#: What HTTP lets a header be called, and say: RFC 9110, without the bytes beyond ASCII, which it
#: calls opaque, and which HTTP clients refuse or guess at.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,18}")
_EXPRESSION = re.compile(r"[0-9A-Za-z_+*/().,-][0-9A-Za-z_ +*/().,-]*")
_REDACTED = re.compile(r"headers?\[([^\[\]]+)\]")
_FLOW_PART = re.compile(r"\s*(parallelism|rate|period)\s*=\s*([0-9a-zA-Z.]+)\s*")
#: One week: the longest flow-control period that QStash accepts.
MAX_PERIOD = 604800


@dataclass(frozen=True, slots=True)
class Option:
    """One row: the Python name, the header, the schedule's JSON key, and the conversions.

    ``clean`` raises ``ValueError`` with a sentence's ending (… must be ``…``).
    """

    name: str
    header: str
    clean: Callable[[Any], Any]
    write: Callable[[Any], str] = str
    read: Callable[[str], Any] | None = None
    schedule: str | None = None

    def parse(self, text: str) -> Any:
        """The value that the header's text means. Raises ``ValueError``."""
        return self.clean(self.read(text) if self.read else text)


def _count(value: Any) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number of zero or more")
    return value


def _duration(value: Any) -> str:
    try:
        return durations.header(value)
    except ValueError:
        raise ValueError(
            "must be a duration: seconds, a timedelta, or a text such as '90s' or '1d12h'"
        ) from None


def _instant(value: Any) -> int:
    try:
        return math.ceil(durations.timestamp(value))
    except ValueError:
        raise ValueError(
            "must be an instant: a datetime, an ISO 8601 text, or a Unix time in seconds"
        ) from None


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def _line(value: Any) -> str:
    if not isinstance(value, str) or not _LINE.fullmatch(value):
        raise ValueError("must be one line of ASCII text, with no space at its ends")
    return value


def _deduplication_id(value: Any) -> str:
    if ":" in _line(value):
        raise ValueError("must not contain ':', which QStash refuses")
    return str(value)


def _method(value: Any) -> str:
    if not isinstance(value, str) or value.upper() not in METHODS:
        raise ValueError(f"must be one of {', '.join(METHODS)}")
    return value.upper()


def _url(value: Any) -> str:
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise ValueError("must be an absolute http:// or https:// address, in ASCII")
    return value


def _name(value: Any) -> str:
    # QStash's own rule, for queues, schedules, labels and flow-control keys alike.
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be made of letters, digits, '-', '_' and '.'")
    return value


def _labels(value: Any) -> str:
    """One label, a text of several with commas, or a list."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError("must be a text or a list of texts")
    return ",".join(_name(part.strip() if isinstance(part, str) else part) for part in parts)


def _retry_delay(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        value = str(value)
    if not isinstance(value, str) or not _EXPRESSION.fullmatch(value.strip(" ")):
        raise ValueError("must be an expression in milliseconds such as '1000 * (1 + retried)'")
    return value.strip(" ")


def _headers(prefix: str, value: Any) -> dict[str, str]:
    """Headers by the name they will have where they arrive, without ``prefix``."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of names to texts")
    clean: dict[str, str] = {}
    for name, text in value.items():
        known = isinstance(name, str) and name.lower().startswith(prefix.lower())
        bare = name[len(prefix) :] if known else name
        if not isinstance(bare, str) or not _HEADER_NAME.fullmatch(bare):
            raise ValueError(f"has a name that no HTTP header can have: {name!r}")
        if text is None or isinstance(text, (bytes, bytearray)) or not _is_sendable(str(text)):
            raise ValueError(f"has a value for {name!r} that no HTTP header can carry")
        clean[bare] = str(text)
    return clean


def _is_sendable(text: str) -> bool:
    return not text or _LINE.fullmatch(text) is not None


def forwardable(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Those of a task's own headers that HTTP can carry; its letter bears them all."""
    return {
        name: text
        for name, text in headers.items()
        if isinstance(text, str)
        and _is_sendable(text)
        and isinstance(name, str)
        and _HEADER_NAME.fullmatch(name)
    }


def _flow_control(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value.get("key"):
        raise ValueError("must be a mapping with 'key', and 'rate' or 'parallelism'")
    unknown = set(value) - {"key", "rate", "parallelism", "period"}
    if unknown:
        raise ValueError(
            f"knows key, rate, parallelism and period, not {sorted(map(str, unknown))}"
        )
    clean: dict[str, Any] = {"key": _part("key", _name, value)}
    for name in ("parallelism", "rate"):
        if value.get(name) is not None:
            clean[name] = _part(name, _count, value)
            if clean[name] == 0:
                raise ValueError(f"has {name}=0; pause the key instead")
    if not clean.keys() & {"parallelism", "rate"}:
        raise ValueError("should be either rate=X or parallelism=Y, or both")
    if value.get("period") is not None:
        period = durations.whole_seconds(_part("period", _duration, value))
        if not 1 <= period <= MAX_PERIOD:
            raise ValueError("has a period that is not between one second and one week")
        clean["period"] = period
    return clean


def _part(name: str, clean: Callable[[Any], Any], value: Mapping[str, Any]) -> Any:
    try:
        return clean(value[name])
    except ValueError as error:
        raise ValueError(f"has a {name} that {error}") from None


def _redact(value: Any) -> dict[str, Any]:
    """``{"body": True, "header": True | [names]}``, or QStash's own list ``"body,header[X]"``."""
    if isinstance(value, str):
        value = _redact_read(value)
    if not isinstance(value, Mapping) or set(value) - {"body", "header"}:
        raise ValueError("must be a mapping with 'body': True and 'header': True or a list")
    clean: dict[str, Any] = {}
    if value.get("body"):
        clean["body"] = True
    header = value.get("header")
    if header is True:
        clean["header"] = True
    elif header:
        names = header if isinstance(header, (list, tuple)) else [header]
        for name in names:
            if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"names a header that cannot be: {name!r}")
        clean["header"] = list(names)
    if not clean:
        raise ValueError("must name 'body', 'header' or both")
    return clean


def _redact_read(text: str) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        named = _REDACTED.fullmatch(part)
        if part == "body":
            clean["body"] = True
        elif part in ("header", "headers"):
            clean["header"] = True
        elif named and clean.get("header") is not True:
            clean.setdefault("header", []).append(named[1])
        elif not named:
            raise ValueError(f"knows body, header and header[Name], not {part!r}")
    return clean


def _redact_write(value: Mapping[str, Any]) -> str:
    header = value.get("header")
    parts = ["body"] if value.get("body") else []
    parts += ["header"] if header is True else [f"header[{name}]" for name in header or ()]
    return ",".join(parts)


def _write_flag(value: bool) -> str:
    return "true" if value else "false"


#: One header each. The three families of many headers (forwarded ones, those of the callbacks) and
#: flow control, which takes two, are written out below.
OPTIONS: tuple[Option, ...] = (
    Option("method", "Upstash-Method", _method, schedule="method"),
    Option("retries", "Upstash-Retries", _count, schedule="retries"),
    Option("retry_delay", "Upstash-Retry-Delay", _retry_delay, schedule="retryDelayExpression"),
    Option("timeout", "Upstash-Timeout", _duration, schedule="timeout"),
    Option("delay", "Upstash-Delay", _duration, schedule="delay"),
    Option("not_before", "Upstash-Not-Before", _instant),
    Option("deduplication_id", "Upstash-Deduplication-Id", _deduplication_id),
    Option(
        "content_based_deduplication", "Upstash-Content-Based-Deduplication", _flag, _write_flag
    ),
    Option("callback", "Upstash-Callback", _url, schedule="callback"),
    Option("failure_callback", "Upstash-Failure-Callback", _url, schedule="failureCallback"),
    Option("label", "Upstash-Label", _labels, schedule="label"),
    Option("redact", "Upstash-Redact-Fields", _redact, _redact_write, _redact_read),
    Option("cron", "Upstash-Cron", _line, schedule="cron"),
    Option("schedule_id", "Upstash-Schedule-Id", _name, schedule="scheduleId"),
    Option("schedule_queue", "Upstash-Queue-Name", _name, schedule="queueName"),
    Option("forward_all", "Upstash-Header-Forward", _flag, _write_flag),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_BY_HEADER = {option.header.lower(): option for option in OPTIONS}

#: Options that are maps of headers: their Python name and the prefix that each header bears.
FAMILIES: Mapping[str, str] = {
    "headers": FORWARD,
    "callback_headers": CALLBACK,
    "failure_callback_headers": FAILURE_CALLBACK,
}

_CLEAN: dict[str, Callable[[Any], Any]] = {
    **{option.name: option.clean for option in OPTIONS},
    **{name: partial(_headers, prefix) for name, prefix in FAMILIES.items()},
    "flow_control": _flow_control,
    "queue": _name,
}

#: What a caller may say about the delivery of one message (``queue`` stands in the path, and
#: ``forward_all`` is for publishers that cannot prefix their headers).
NAMES = frozenset(_CLEAN) - {"cron", "schedule_id", "schedule_queue", "forward_all"}


def header_of(name: str) -> str:
    """The header that bears the option ``name``."""
    return _BY_NAME[name].header


def clean(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the form that letters keep and ``to_headers`` takes; ``None`` is left out.

    Raises :class:`OptionError` naming the option, for an unknown name as for a wrong value.
    """
    return {name: clean_one(name, value) for name, value in options.items() if value is not None}


def clean_one(name: str, value: Any) -> Any:
    """One option's value in its lasting form. Raises :class:`OptionError`."""
    try:
        convert = _CLEAN[name]
    except KeyError:
        raise OptionError(
            f"{name!r} is not a delivery option; known are {', '.join(sorted(NAMES))}."
        ) from None
    try:
        return convert(value)
    except ValueError as error:
        # The values of headers may be secrets.
        shown = name if name in FAMILIES else f"{name}={value!r}"
        raise OptionError(f"{shown}: it {error}.") from None


def to_headers(options: Mapping[str, Any]) -> dict[str, str]:
    """The headers that say ``options`` (cleaned ones) to QStash. ``queue`` has none."""
    headers: dict[str, str] = {}
    for name, value in options.items():
        if name in _BY_NAME:
            option = _BY_NAME[name]
            headers[option.header] = option.write(value)
        elif name in FAMILIES:
            headers.update({FAMILIES[name] + header: text for header, text in value.items()})
        elif name == "flow_control":
            headers[FLOW_KEY] = value["key"]
            headers[FLOW_VALUE] = write_flow_value(value)
    return headers


def write_flow_value(value: Mapping[str, Any]) -> str:
    """``{"rate": 4, "period": 60}`` as QStash's header says it: ``"rate=4, period=60s"``."""
    parts = [f"{name}={value[name]}" for name in ("parallelism", "rate") if name in value]
    if "period" in value:
        parts.append(f"period={value['period']}s")
    return ", ".join(parts)


def read_flow_value(text: str) -> dict[str, Any]:
    """The inverse of :func:`write_flow_value`. Raises ``ValueError``."""
    value: dict[str, Any] = {}
    for part in text.split(","):
        match = _FLOW_PART.fullmatch(part)
        if match is None or match[1] in value:
            raise ValueError(
                "should be either rate=X or parallelism=Y, or both as comma-separated values"
            )
        value[match[1]] = match[2]
    return value


def from_headers(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The cleaned options that a request's headers say; other headers are passed over.

    Raises :class:`OptionError` for a known header with a value that QStash would refuse.
    """
    options: dict[str, Any] = {}
    flow: dict[str, str] = {}
    for name, text in headers:
        lower = name.lower()
        option = _BY_HEADER.get(lower)
        if option is not None:
            try:
                options[option.name] = option.parse(text)
            except ValueError as error:
                raise OptionError(f"{option.header} {error}") from None
        elif lower in (FLOW_KEY.lower(), FLOW_VALUE.lower()):
            flow[lower] = text
        else:
            family = _family(lower)
            if family is not None:
                options.setdefault(family, {})[name[len(FAMILIES[family]) :]] = text
    if flow:
        options["flow_control"] = _read_flow(flow)
    return options


def _family(lower: str) -> str | None:
    for name, prefix in FAMILIES.items():
        if lower.startswith(prefix.lower()) and len(lower) > len(prefix):
            return name
    return None


def _read_flow(flow: Mapping[str, str]) -> dict[str, Any]:
    try:
        parts = read_flow_value(flow.get(FLOW_VALUE.lower(), ""))
        return _flow_control({"key": flow.get(FLOW_KEY.lower(), ""), **parts})
    except ValueError as error:
        raise OptionError(f"{FLOW_VALUE} {error}") from None
