"""Every setting: its name, type, default and meaning, in one typed class body.

A setting is read when it is used: from Django's settings, else from the environment variable of
the same name, else from the project's ``Celery`` object where that has a setting of this meaning,
else its default. ``override_settings`` therefore works, and a plain script with no Django settings
at all still runs tasks directly.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final, Protocol

from django.conf import Settings as DjangoSettings
from django.conf import UserSettingsHolder
from django.conf import settings as django_settings
from django.utils.functional import empty

from django_qstash.exceptions import ImproperlyConfigured

#: What Upstash's own development server, and ours, accept: public knowledge, so worth nothing
#: outside development. Source: the documentation of ``qstash dev``, its first user.
DEVELOPMENT_TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="  # noqa: S105
DEVELOPMENT_CURRENT_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
DEVELOPMENT_NEXT_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
#: Where the embedded server listens; QSTASH_DEV_PORT moves it, as it moves Upstash's own.
DEVELOPMENT_URL = f"http://127.0.0.1:{os.environ.get('QSTASH_DEV_PORT') or '8585'}"

#: How ``runserver`` is told where to serve, and its options whose value is a word of its own.
_ADDRPORT = re.compile(r"(?:(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):)?([0-9]+)")
_TAKES_A_VALUE = frozenset({"-v", "--verbosity", "--settings", "--pythonpath"})
_ASKS_FOR_HELP = frozenset({"-h", "--help", "--version"})


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


#: Says that a setting has no value, where ``None`` may be one.
UNSET: Final[Any] = _Unset()


class CelerySettings(Protocol):
    """What the project's ``Celery`` object says, for those below it who cannot know it."""

    def of_ours(self, name: str) -> Any:
        """The value that Celery's settings give one of ours; ``UNSET`` if they say nothing."""
        ...

    def get(self, name: str, default: Any = None) -> Any:
        """A setting by Celery's name, if the project gives it a value."""
        ...

    def routed(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any
    ) -> Mapping[str, Any]:
        """The options of a call, with those that ``task_routes`` adds."""
        ...


#: Set by the first ``Celery`` object of the process; CELERY_* settings are read through it alone.
celery: CelerySettings | None = None


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    name: str
    kind: str
    default: Any
    doc: str
    parse: Callable[[str], Any]
    accepts: tuple[type, ...]
    secret: bool = False
    development: str | None = None

    def check(self, value: Any) -> str | None:
        """What is wrong with ``value``, in one sentence; ``None`` if nothing is."""
        fits = isinstance(value, self.accepts)
        if isinstance(value, bool):
            fits = bool in self.accepts
        elif isinstance(value, float):
            fits = fits and math.isfinite(value)
        return None if fits else f"{self.name} must be {self.kind}, not {self.shown(value)}."

    def shown(self, value: Any) -> str:
        """``value`` as a message may show it: no secret, and no mapping, which may hold one."""
        if self.secret or Mapping in self.accepts:
            return f"a value of type {type(value).__name__}"
        return repr(value)


_TABLE: dict[str, Setting] = {}

_TRUE = frozenset({"1", "true", "yes", "on", "t", "y"})
_FALSE = frozenset({"0", "false", "no", "off", "f", "n"})


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("write True or False")


def _parse_number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _parse_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_KINDS: dict[str, tuple[Callable[[str], Any], tuple[type, ...]]] = {
    "str": (str, (str,)),
    "str | None": (lambda text: text or None, (str, type(None))),
    "bool": (_parse_bool, (bool,)),
    "int": (int, (int,)),
    "float": (_parse_number, (int, float)),
    "Sequence[str] | None": (_parse_list, (list, tuple, set, frozenset, type(None))),
    "Mapping[str, Any]": (json.loads, (Mapping,)),
}


class setting:  # noqa: N801 - reads as a word in the class body below
    """Declares one setting; its type is the annotation beside it."""

    def __init__(
        self, default: Any, doc: str, *, secret: bool = False, development: str | None = None
    ) -> None:
        self.default = default
        self.doc = doc
        self.secret = secret
        self.development = development

    def __set_name__(self, owner: type, name: str) -> None:
        kind = owner.__annotations__[name]
        parse, accepts = _KINDS[kind]
        self.row = _TABLE[name] = Setting(
            name, kind, self.default, self.doc, parse, accepts, self.secret, self.development
        )

    def __get__(self, instance: Any, owner: type) -> Any:
        return read(self.row)


def _declare(
    default: Any, doc: str, *, secret: bool = False, development: str | None = None
) -> Any:
    """:class:`setting`, typed as whatever the annotation says."""
    return setting(default, doc, secret=secret, development=development)


class Settings:
    """The table. ``conf.settings.NAME`` is the value in force at this moment."""

    QSTASH_TOKEN: str = _declare(
        "",
        "Token that publishes to QStash, from the Upstash console.",
        secret=True,
        development=DEVELOPMENT_TOKEN,
    )
    QSTASH_URL: str = _declare(
        "https://qstash.upstash.io",
        "Where QStash answers: the hosted service, one of its regions, or a local server.",
        development=DEVELOPMENT_URL,
    )
    QSTASH_CURRENT_SIGNING_KEY: str = _declare(
        "",
        "Key that QStash signs deliveries with.",
        secret=True,
        development=DEVELOPMENT_CURRENT_KEY,
    )
    QSTASH_NEXT_SIGNING_KEY: str = _declare(
        "",
        "Key that QStash will sign with after the next rotation; accepted as well.",
        secret=True,
        development=DEVELOPMENT_NEXT_KEY,
    )
    DJANGO_QSTASH_DOMAIN: str = _declare(
        "",
        "Public address of this site, as QStash reaches it, such as https://example.com. "
        "The signature of a delivery is checked against it.",
    )
    DJANGO_QSTASH_WEBHOOK_PATH: str = _declare(
        "/qstash/webhook/", "Path at which 'django_qstash.urls' is included."
    )
    DJANGO_QSTASH_FORCE_HTTPS: bool = _declare(
        True, "Make an http:// domain https://. Loopback addresses are left alone."
    )
    DJANGO_QSTASH_RESULT_TTL: int = _declare(
        604800, "Seconds after which clear_stale_results removes a finished result."
    )
    DJANGO_QSTASH_LEASE: float = _declare(
        60,
        "Seconds for which a delivery owns its task before another may take it over. "
        "Renewed at a third of its length while the task runs.",
    )
    DJANGO_QSTASH_DELIVERY_RETRIES: int = _declare(
        3, "How often QStash delivers again after a crash, a time-out or a 5xx answer."
    )
    DJANGO_QSTASH_DELIVERY_ATTEMPTS: int = _declare(
        5,
        "How many deliveries may begin one letter. A task whose process dies every time ends as "
        "FAILURE (WorkerLostError) after as many.",
    )
    DJANGO_QSTASH_DELIVERY_TTL: int = _declare(
        2592000,
        "Seconds for which a finished task is remembered, so that a late duplicate does not run.",
    )
    DJANGO_QSTASH_BATCH_SIZE: int = _declare(
        100, "Largest number of messages in one batch request to QStash."
    )
    DJANGO_QSTASH_MAX_DELAY: int = _declare(
        604800,
        "Longest delay in seconds that your QStash plan accepts (7 days on the free plan). "
        "A later eta is reached in several hops.",
    )
    DJANGO_QSTASH_MAX_PAYLOAD_SIZE: int = _declare(
        1048576, "Largest body in bytes that is published or accepted."
    )
    DJANGO_QSTASH_PUBLISH_TIMEOUT: float = _declare(
        5, "Seconds after which one attempt to publish is given up."
    )
    DJANGO_QSTASH_PUBLISH_RETRIES: int = _declare(
        1, "How often a publish is tried again when QStash cannot be reached."
    )
    DJANGO_QSTASH_QUEUES: Mapping[str, Any] = _declare(
        {},
        "QStash FIFO queues by name, such as {'mail': {'parallelism': 10}}. A task's queue= "
        "becomes a QStash queue only if it is named here.",
    )
    DJANGO_QSTASH_ALWAYS_EAGER: bool = _declare(
        False, "Run tasks inline at .delay(), without QStash. Celery: task_always_eager."
    )
    DJANGO_QSTASH_EAGER_PROPAGATES: bool = _declare(
        False, "Let an eager task's exception rise from .delay(). Celery: task_eager_propagates."
    )
    DJANGO_QSTASH_STORE_EAGER_RESULT: bool = _declare(
        False,
        "Keep the results of eager tasks in the results app. Celery: task_store_eager_result.",
    )
    DJANGO_QSTASH_ALLOW_ERROR_CB_ON_CHORD_HEADER: bool = _declare(
        False,
        "Let chord.link_error reach the tasks of the header, too. Celery: "
        "task_allow_error_cb_on_chord_header.",
    )
    DJANGO_QSTASH_STORE_LARGE_ARGS: bool = _declare(
        False, "Keep arguments over the size limit in the database (results app) for the delivery."
    )
    DJANGO_QSTASH_LOG_TASK_ARGS: bool = _declare(
        False, "Show arguments and results of tasks in the log lines at INFO level."
    )
    DJANGO_QSTASH_WATCH_DELIVERIES: bool = _declare(
        True,
        "With results installed, let QStash tell us when it gives a delivery up, so that the task "
        "ends as a failure rather than never.",
    )
    DJANGO_QSTASH_VERIFY_SSL: bool = _declare(
        True, "Check the certificate of QSTASH_URL. Turn off for a local server only."
    )
    DJANGO_QSTASH_VALIDATE_CONNECTIVITY: bool = _declare(
        False, "Let 'check --deploy' call QStash and compare the signing keys."
    )
    DJANGO_QSTASH_CLOCK_TOLERANCE: float = _declare(
        30, "Seconds by which the clocks of QStash and of this machine may differ."
    )
    DJANGO_QSTASH_WEBHOOK_RATE_LIMIT: str | None = _declare(
        None,
        "Requests without a valid signature that one address may send, such as '100/m' or "
        "'10/s'; over it they get 429. Signed deliveries are never counted.",
    )
    DJANGO_QSTASH_TRANSPORT: str = _declare(
        "django_qstash.transport.http.HttpTransport",
        "Dotted path of the class that carries letters to QStash.",
    )
    DJANGO_QSTASH_WORKFLOW_PERSISTENCE: bool = _declare(
        True, "Keep workflow runs in the database (workflows app) rather than in their messages."
    )
    DJANGO_QSTASH_WORKFLOW_TIME_BUDGET: float = _declare(
        20, "Seconds for which one delivery goes on running the steps of a workflow."
    )
    DJANGO_QSTASH_WORKFLOW_VERBOSE: bool = _declare(
        False, "Log an entry for each thing that happens to a workflow's run, unless it says."
    )
    DJANGO_QSTASH_WORKFLOW_DATABASE_TIME: bool = _declare(
        False, "Take the time of database statements in deliveries of workflows."
    )
    DJANGO_QSTASH_MESSAGE_PRICE: str = _declare(
        "0.00001",
        "US dollars that one message costs in your QStash plan, by which the price of a workflow's "
        "run is estimated.",
    )
    DJANGO_QSTASH_CALL_ALLOWED_HOSTS: Sequence[str] | None = _declare(
        None, "Hosts that a workflow's step.call may reach; None allows all but link-local ones."
    )
    DJANGO_QSTASH_BEAT_SCHEDULE: Mapping[str, Any] = _declare(
        {}, "Schedules in code, in the shape of Celery's beat_schedule."
    )
    DJANGO_QSTASH_OVERLAP_LIMIT: float = _declare(
        3600,
        "Seconds for which an unfinished run keeps the next one of its schedule from running "
        "(overlap='skip' or 'queue') though nothing is heard of it: after the end of its lease, or "
        "after its retry was due.",
    )
    DJANGO_QSTASH_ACCOUNTS: Mapping[str, Any] = _declare(
        {},
        "Further QStash accounts: {'name': {'token', 'current_signing_key', 'next_signing_key', "
        "'url'}}, of which the last two may be left out. Tasks name theirs by account=.",
    )


settings = Settings()

#: What django-hookflow called its settings, and what they are called here (None: gone).
HOOKFLOW_NAMES: Mapping[str, str | None] = {
    "DJANGO_HOOKFLOW_DOMAIN": "DJANGO_QSTASH_DOMAIN",
    "DJANGO_HOOKFLOW_WEBHOOK_PATH": "DJANGO_QSTASH_WEBHOOK_PATH",
    "DJANGO_HOOKFLOW_PERSISTENCE_ENABLED": "DJANGO_QSTASH_WORKFLOW_PERSISTENCE",
    "DJANGO_HOOKFLOW_VERIFY_SSL": "DJANGO_QSTASH_VERIFY_SSL",
    "DJANGO_HOOKFLOW_RATE_LIMIT": "DJANGO_QSTASH_WEBHOOK_RATE_LIMIT",
    "DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE": "DJANGO_QSTASH_MAX_PAYLOAD_SIZE",
    "DJANGO_HOOKFLOW_VALIDATE_CONNECTIVITY": "DJANGO_QSTASH_VALIDATE_CONNECTIVITY",
    "DJANGO_HOOKFLOW_EXECUTION_TIMEOUT": "DJANGO_QSTASH_WORKFLOW_TIME_BUDGET",
    "DJANGO_HOOKFLOW_MAX_PUBLISH_FAILURES": "DJANGO_QSTASH_PUBLISH_RETRIES",
    "DJANGO_HOOKFLOW_CLOCK_SKEW_SECONDS": "DJANGO_QSTASH_CLOCK_TOLERANCE",
    "DJANGO_HOOKFLOW_GRACEFUL_SHUTDOWN_ENABLED": None,
    "DJANGO_HOOKFLOW_SHUTDOWN_TIMEOUT": None,
}

#: Settings of django-qstash 0.x that are gone, and what to do about each.
FORMER_NAMES: Mapping[str, str] = {
    "DJANGO_QSTASH_DEDUP_SUCCESSFUL": "It is always so with the results app; remove it.",
    "DJANGO_QSTASH_DISCOVER_CLEAR_CACHE_ON_REQUEST": "Nothing is cached; remove it.",
    "DJANGO_QSTASH_DISCOVER_INCLUDE_SETTINGS_DIR": "It is always so; remove it.",
    "DJANGO_QSTASH_EMIT_SIGNALS": "Signals are always sent; see django_qstash.signals.",
    "DJANGO_QSTASH_ENABLE_STRUCTURED_LOGGING": (
        "Put django_qstash.contrib.logging.JSONFormatter into LOGGING."
    ),
    "DJANGO_QSTASH_RESULT_POLL_INTERVAL": "Write get(interval=…) where it matters.",
}


def table() -> Iterator[Setting]:
    """Every setting, in the order of the class body."""
    return iter(_TABLE.values())


def read(row: Setting) -> Any:
    """The value in force.

    Raises :class:`~django_qstash.exceptions.ImproperlyConfigured` when it has the wrong type.
    """
    value, source = find(row)
    if source == "environment":
        try:
            value = row.parse(value)
        except ValueError as error:
            wrong = f"must be {row.kind}, not {row.shown(value)}: {error}."
            raise ImproperlyConfigured(f"{row.name} in the environment {wrong}") from None
    if source in ("environment", "settings", "celery") and (problem := row.check(value)):
        raise ImproperlyConfigured(problem)
    return value


def find(row: Setting) -> tuple[Any, str]:
    """The unparsed value, and where it stands: one of the places in their order."""
    value = in_django_settings(row.name, None)
    # Projects write QSTASH_TOKEN = os.environ.get(…) or config(…, default=""): that is unset, too.
    if value is not None and value != "":
        return value, "settings"
    value = _in_environment(row.name)
    if value:
        return value, "environment"
    if celery is not None and (value := celery.of_ours(row.name)) is not UNSET:
        return value, "celery"
    if row.development is not None and development_defaults():
        return row.development, "development"
    return row.default, "default"


def _in_environment(name: str) -> str | None:
    """``os.environ.get``, without the cost of a raised error for what is not there.

    It is most of what reading a setting takes, and a delivery reads a dozen of them.
    """
    known = getattr(os.environ, "_data", None)
    if known is not None and _environment_key(name) not in known:
        return None
    return os.environ.get(name)


@cache
def _environment_key(name: str) -> Any:
    return os.environ.encodekey(name)


def is_set(name: str) -> bool:
    """True if the project gives the setting a value that is not empty."""
    return bool(in_django_settings(name, None)) or bool(os.environ.get(name))


def development_defaults() -> bool:
    """True where the embedded server's address and credentials apply by themselves.

    That is: DEBUG is on, and neither a token, nor a URL, nor a signing key is set.
    """
    if in_django_settings("DEBUG", False) is not True:
        return False
    return not any(is_set(row.name) for row in _TABLE.values() if row.development is not None)


def under_test() -> bool:
    """True inside Django's test environment, which turns DEBUG off and keeps mails in a list."""
    mail = sys.modules.get("django.core.mail")
    return hasattr(mail, "outbox")


def runserver_address(argv: Sequence[str] | None = None) -> str | None:
    """The ``host:port`` that this ``manage.py runserver`` serves; ``None`` in any other process."""
    words = sys.argv if argv is None else argv
    if "runserver" not in words[1:2] or _ASKS_FOR_HELP.intersection(words):
        return None
    host, port = None, "8000"
    rest = iter(words[2:])
    for word in rest:
        if word in _TAKES_A_VALUE:
            next(rest, None)
        elif found := _ADDRPORT.fullmatch(word):
            host, port = found.groups()
            break
    if host is None:
        host = "[::1]" if {"-6", "--ipv6"}.intersection(words) else "127.0.0.1"
    return f"{host}:{port}"


def in_django_settings(name: str, absent: Any) -> Any:
    """The value in Django's settings, or ``absent``, without the cost of a raised error.

    ``getattr`` with a default takes 2 µs for a name that is not there, and a delivery asks for a
    dozen of them; looking into the holders' dictionaries takes a tenth of that.
    """
    holder: Any = object.__getattribute__(django_settings, "__dict__").get("_wrapped")
    if holder is empty and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return absent
    while type(holder) is UserSettingsHolder:
        if name in holder.__dict__:
            return holder.__dict__[name]
        if name in holder.__dict__["_deleted"]:
            return absent
        holder = holder.default_settings
    if type(holder) in (DjangoSettings, ModuleType):
        return holder.__dict__.get(name, absent)
    # Not loaded yet, or another package's holder, which may look its values up in its own way.
    return getattr(django_settings, name, absent)
