"""What is configured: of the wrong type, missing, out of date, or known to everybody."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.utils.module_loading import import_string

from django_qstash import conf
from django_qstash.checks.configured import TAG, value_of
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.transport import accounts


@register(TAG)
def check_settings(**_: Any) -> list[CheckMessage]:
    """E001 a value of the wrong type; W001 to W003 what is missing; W004 an old name."""
    return [*_malformed(), *_missing(), *_old_names()]


@register(TAG)
def check_accounts(**_: Any) -> list[CheckMessage]:
    """E009 an account of DJANGO_QSTASH_ACCOUNTS that cannot be used."""
    try:
        found = list(accounts.problems())
    except ImproperlyConfigured:
        # Of the wrong type as a whole, which E001 says.
        return []
    return [Error(problem, id="django_qstash.E009") for problem in found]


@register(TAG)
def check_development_credentials(**_: Any) -> list[CheckMessage]:
    """E005 credentials that everybody knows, outside DEBUG."""
    # Tests run with DEBUG off, against whatever a developer has in the environment.
    if django_settings.DEBUG or conf.under_test():
        return []
    known = {conf.DEVELOPMENT_TOKEN, conf.DEVELOPMENT_CURRENT_KEY, conf.DEVELOPMENT_NEXT_KEY}
    names = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_TOKEN")
    used = [name for name in names if value_of(name) in known]
    further = value_of("DJANGO_QSTASH_ACCOUNTS") or {}
    used += [
        f"DJANGO_QSTASH_ACCOUNTS[{name!r}]"
        for name, account in further.items()
        if isinstance(account, Mapping) and known.intersection(map(str, account.values()))
    ]
    if not used:
        return []
    return [
        Error(
            f"{' and '.join(used)} are the development server's, which everybody knows, and DEBUG "
            "is off: anyone could sign deliveries.",
            hint="Set those of your QStash account, from the Upstash console.",
            id="django_qstash.E005",
        )
    ]


def _malformed() -> Iterator[CheckMessage]:
    for row in conf.table():
        try:
            conf.read(row)
        except ImproperlyConfigured as error:
            yield Error(str(error), id="django_qstash.E001")
    try:
        limit = value_of("DJANGO_QSTASH_WEBHOOK_RATE_LIMIT")
        if limit is not None:
            import_string("django_qstash.webhook.fence.parse_rate")(limit)
        if value_of("DJANGO_QSTASH_MESSAGE_PRICE") is not None:
            import_string("django_qstash.workflows.price.message_price")()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="django_qstash.E001")
    url = value_of("QSTASH_URL")
    if isinstance(url, str) and url and not re.match(r"https?://[^/\s]+", url):
        yield Error(
            f"QSTASH_URL={url!r} is not an address such as https://qstash.upstash.io.",
            id="django_qstash.E001",
        )
    for name, least in (
        ("DJANGO_QSTASH_LEASE", 1),
        ("DJANGO_QSTASH_BATCH_SIZE", 1),
        ("DJANGO_QSTASH_MAX_DELAY", 1),
        ("DJANGO_QSTASH_MAX_PAYLOAD_SIZE", 1),
        ("DJANGO_QSTASH_DELIVERY_ATTEMPTS", 1),
        ("DJANGO_QSTASH_DELIVERY_RETRIES", 0),
        ("DJANGO_QSTASH_PUBLISH_RETRIES", 0),
        ("DJANGO_QSTASH_PUBLISH_TIMEOUT", 0.001),
        ("DJANGO_QSTASH_CLOCK_TOLERANCE", 0),
    ):
        value = value_of(name)
        if isinstance(value, (int, float)) and value < least:
            yield Error(
                f"{name}={value!r} must be at least {least}.",
                id="django_qstash.E001",
            )


def _missing() -> Iterator[CheckMessage]:
    if value_of("DJANGO_QSTASH_ALWAYS_EAGER"):
        return
    if not value_of("QSTASH_TOKEN"):
        yield Warning(
            "QSTASH_TOKEN is not set, so no task can be sent.",
            hint=_where("it"),
            id="django_qstash.W001",
        )
    keys = [value_of("QSTASH_CURRENT_SIGNING_KEY"), value_of("QSTASH_NEXT_SIGNING_KEY")]
    if not any(keys):
        yield Warning(
            "QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY are not set, so every delivery "
            "is refused.",
            hint=_where("them"),
            id="django_qstash.W002",
        )
    elif not all(keys):
        yield Warning(
            "Only one of QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY is set: deliveries "
            "will be refused when the keys are rotated.",
            id="django_qstash.W003",
        )


def _where(what: str) -> str:
    # What the development server prints would be refused without DEBUG.
    local = ", or from 'manage.py qstash_dev'" if django_settings.DEBUG else ""
    return f"Take {what} from the Upstash console{local}."


def _old_names() -> Iterator[CheckMessage]:
    for old, new in conf.HOOKFLOW_NAMES.items():
        if hasattr(django_settings, old) or old in os.environ:
            yield Warning(
                f"{old} is a setting of django-hookflow and has no effect.",
                hint=f"It is called {new} here." if new else "It is not needed here; remove it.",
                id="django_qstash.W004",
            )
    for old, hint in conf.FORMER_NAMES.items():
        if hasattr(django_settings, old) or old in os.environ:
            yield Warning(
                f"{old} is a setting of django-qstash 0.x and has no effect.",
                hint=hint,
                id="django_qstash.W004",
            )
