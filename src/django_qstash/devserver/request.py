"""What a publish request says: from headers, query and body to a :class:`Spec`."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_plus, urlsplit

from django_qstash import durations
from django_qstash.devserver import expression
from django_qstash.devserver.flow import Flow
from django_qstash.devserver.headers import NOT_FORWARDED
from django_qstash.devserver.message import DEFAULT_RETRIES, Pairs, Spec
from django_qstash.devserver.refusal import Refusal, bad_request, over_quota
from django_qstash.exceptions import OptionError
from django_qstash.wire import options as table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_qstash.devserver.limits import Limits

_JSON: Pairs = (("Content-Type", "application/json"),)
_INVALID_SCHEME = "invalid destination url: endpoint has invalid scheme, add http:// or https://"
#: Options that a callback cannot have: it goes out at once, and to one address. Delayed callbacks
#: are rejected at insertion (QStash changelog of March 2025).
_NOT_FOR_CALLBACKS = ("delay", "not_before", "callback", "cron", "schedule_id", "schedule_queue")


def split_destination(raw: str) -> tuple[str, list[tuple[str, str]]]:
    """The destination, byte for byte, and the QStash options that stood in its query.

    ``qstash_token`` and ``upstash-…`` parameters are taken out; all others stay as they are.
    """
    address, mark, query = raw.partition("?")
    if not mark:
        return raw, []
    kept: list[str] = []
    options: list[tuple[str, str]] = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        known = unquote_plus(name).lower()
        if known.startswith("upstash-"):
            options.append((known, unquote_plus(value)))
        elif known != "qstash_token":
            kept.append(part)
    return address + ("?" + "&".join(kept) if kept else ""), options


def token_in_query(target: str) -> str:
    """The value of ``qstash_token``; empty when there is none."""
    for part in target.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        if name == "qstash_token":
            return unquote(value)
    return ""


def check_url(destination: str) -> str | None:
    """The sentence that is wrong with a URL; ``None`` for one that can be called."""
    if any(
        ord(char) <= 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in destination
    ):
        return "invalid destination url: it has blanks or control characters"
    try:
        parts = urlsplit(destination)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"invalid destination url: {error}"
    if parts.scheme.lower() not in ("http", "https"):
        return _INVALID_SCHEME
    if not host:
        return "invalid destination url: it has no host"
    return None


def is_url(destination: str) -> bool:
    """A URL rather than the name of a URL group."""
    return destination[:8].lower().startswith(("http://", "https://"))


def unknown_destination() -> Refusal:
    """Neither a URL nor a known URL group: QStash's own text for both."""
    return bad_request(_INVALID_SCHEME)


def read(
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    limits: Limits,
    caller_ip: str,
    queue: str | None = None,
) -> tuple[Spec, dict[str, Any]]:
    """What to deliver, and the cleaned options that made it (``cron``, ``schedule_id`` …).

    Raises :class:`Refusal`: 400 for what QStash cannot understand, 412 over the plan's limits.
    """
    # HTTP trims values; those of a batch or a query string may still have blanks at their ends.
    pairs = [(name, value.strip()) for name, value in headers]
    try:
        options = table.from_headers(pairs)
    except OptionError as error:
        raise bad_request(str(error)) from None
    spec = _spec(options, pairs, body, caller_ip)
    if queue is not None:
        spec = replace(spec, queue=queue)
    _check_expression(spec.retry_delay, table.header_of("retry_delay"))
    _check_limits(spec, limits)
    for option, url, header in (
        ("callback", spec.callback, spec.callback_header),
        ("failure_callback", spec.failure_callback, spec.failure_callback_header),
    ):
        _check_callback(url, header, table.header_of(option), limits)
    return spec, options


def _spec(
    options: dict[str, Any], pairs: Pairs | list[tuple[str, str]], body: bytes, ip: str
) -> Spec:
    flow = options.get("flow_control")
    timeout = options.get("timeout")
    return Spec(
        body=body,
        method=options.get("method", "POST"),
        header=_forwarded(pairs, everything=options.get("forward_all", False)),
        retries=options.get("retries", DEFAULT_RETRIES),
        retry_delay=options.get("retry_delay"),
        timeout=durations.whole_seconds(timeout) if timeout is not None else None,
        delay=durations.whole_seconds(options.get("delay", 0)),
        not_before=options.get("not_before"),
        callback=options.get("callback"),
        callback_header=_family(pairs, table.CALLBACK),
        failure_callback=options.get("failure_callback"),
        failure_callback_header=_family(pairs, table.FAILURE_CALLBACK),
        labels=_labels(options.get("label")),
        flow=Flow.of(flow) if flow else None,
        deduplication_id=options.get("deduplication_id"),
        content_based_deduplication=options.get("content_based_deduplication", False),
        redact=options.get("redact"),
        queue=options.get("schedule_queue"),
        caller_ip=ip,
    )


def _labels(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in (text or "").split(","))))


def _family(pairs: Iterable[tuple[str, str]], prefix: str) -> Pairs:
    found = []
    for name, value in pairs:
        if name.lower().startswith(prefix.lower()) and len(name) > len(prefix):
            found.append((name[len(prefix) :], value))
    return tuple(found)


def _forwarded(pairs: Iterable[tuple[str, str]], *, everything: bool) -> Pairs:
    """The content type, the headers with the prefix, and if asked for all that have none."""
    pairs = list(pairs)
    header = [("Content-Type", value) for name, value in pairs if name.lower() == "content-type"]
    if everything:
        header += [pair for pair in pairs if _is_own(pair[0].lower())]
    header += [
        pair for pair in _family(pairs, table.FORWARD) if pair[0].lower() not in NOT_FORWARDED
    ]
    return tuple(header)


def _is_own(lower: str) -> bool:
    return not lower.startswith("upstash-") and lower not in ("authorization", *NOT_FORWARDED)


def _check_expression(text: str | None, header: str) -> None:
    if text is None:
        return
    try:
        expression.parse(text)
    except ValueError as error:
        raise bad_request(f"{header} {error}") from None


def _check_limits(spec: Spec, limits: Limits) -> None:
    if spec.retries > limits.max_retries:
        raise over_quota("maxRetries", limits.max_retries)
    if spec.delay > limits.max_delay:
        raise over_quota("maxDelay", limits.max_delay)
    if len(spec.body) > limits.max_message_size:
        raise over_quota("maxMessageSize", limits.max_message_size)
    if spec.timeout == 0:
        raise bad_request(f"{table.header_of('timeout')} must be more than zero")
    if spec.timeout is not None and spec.timeout > limits.max_timeout:
        raise over_quota("maxTimeout", limits.max_timeout)


def _check_callback(url: str | None, header: Pairs, name: str, limits: Limits) -> None:
    if url is not None and (problem := check_url(url)):
        raise bad_request(f"{name}: {problem}")
    options = _callback_options(header, name)
    for option in _NOT_FOR_CALLBACKS:
        if option in options:
            raise bad_request(f"{name} cannot have the option {option!r}")
    _check_expression(options.get("retry_delay"), f"{name}-Retry-Delay")
    if options.get("retries", 0) > limits.max_retries:
        raise over_quota("maxRetries", limits.max_retries)


@lru_cache(maxsize=512)
def _callback_options(header: Pairs, name: str) -> dict[str, Any]:
    try:
        return table.from_headers(_as_request(header))
    except OptionError as error:
        raise bad_request(f"{name}: {error}") from None


def _as_request(header: Pairs) -> Pairs:
    """``Upstash-Callback-<X>`` means to the callback what ``Upstash-<X>`` means to a message."""
    return tuple((f"Upstash-{name}", value) for name, value in header)


@lru_cache(maxsize=512)
def _callback_template(header: Pairs) -> Spec:
    options = _callback_options(header, "callback")
    return _spec(options, _as_request(header), b"", "")


def callback_spec(header: Pairs, body: bytes, source: Spec) -> Spec:
    """The message that carries a callback: retries as often as ``source`` unless told otherwise."""
    template = _callback_template(header)
    told = any(name.lower() == "retries" for name, _ in header)
    # A source whose body must not be shown must not be shown inside its callback either.
    redact = {**(template.redact or {}), "body": True} if source.redact else template.redact
    return replace(
        template,
        body=body,
        header=template.header + _JSON,
        retries=template.retries if told else source.retries,
        retry_delay=template.retry_delay or source.retry_delay,
        redact=redact,
        caller_ip=source.caller_ip,
    )


def read_overrides(headers: Iterable[tuple[str, str]], original: Spec, *, limits: Limits) -> Spec:
    """``original`` with what publish headers of a DLQ retry say put over it.

    Raises :class:`Refusal` as :func:`read` does.
    """
    pairs = [pair for pair in headers if pair[0].lower().startswith("upstash-")]
    told, options = read(pairs, original.body, limits=limits, caller_ip=original.caller_ip)
    fields = {
        field for option, fields in _FIELDS_OF.items() if option in options for field in fields
    }
    changed: dict[str, Any] = {field: getattr(told, field) for field in fields}
    given = {name.lower() for name, _ in told.header}
    kept = tuple(pair for pair in original.header if pair[0].lower() not in given)
    return replace(original, header=kept + told.header, **changed)


#: Which fields of a :class:`Spec` each option fills.
_FIELDS_OF: dict[str, tuple[str, ...]] = {
    "method": ("method",),
    "retries": ("retries",),
    "retry_delay": ("retry_delay",),
    "timeout": ("timeout",),
    "delay": ("delay",),
    "not_before": ("not_before",),
    "deduplication_id": ("deduplication_id",),
    "content_based_deduplication": ("content_based_deduplication",),
    "callback": ("callback",),
    "callback_headers": ("callback_header",),
    "failure_callback": ("failure_callback",),
    "failure_callback_headers": ("failure_callback_header",),
    "label": ("labels",),
    "redact": ("redact",),
    "flow_control": ("flow",),
    "schedule_queue": ("queue",),
}
