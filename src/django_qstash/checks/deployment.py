"""What a production site should look at, and what its connections do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register  # noqa: A004
from django.db import router
from django.utils.module_loading import import_string

from django_qstash.checks.configured import TAG, value_of
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.tasks.store import get_store
from django_qstash.transport import accounts, get_transport


@register(TAG, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """W006 to W009, I001: what a production site should look at."""
    messages: list[CheckMessage] = []
    for account in _usable():
        if account.url.startswith("http://"):
            said = account.called("url")
            messages.append(
                Warning(
                    f"{said}={account.url!r} is not https: the token travels in the clear.",
                    id="django_qstash.W007",
                )
            )
    if value_of("DJANGO_QSTASH_VERIFY_SSL") is False:
        messages.append(
            Warning(
                "DJANGO_QSTASH_VERIFY_SSL is off: anyone on the way can read the token.",
                id="django_qstash.W008",
            )
        )
    if not get_store().durable:
        messages.append(
            Info(
                "'django_qstash.results' is not installed: a task that is delivered twice runs "
                "twice, and AsyncResult knows nothing.",
                hint="Add it to INSTALLED_APPS and run migrate.",
                id="django_qstash.I001",
            )
        )
    if value_of("DJANGO_QSTASH_ALWAYS_EAGER"):
        messages.append(
            Warning(
                "DJANGO_QSTASH_ALWAYS_EAGER is on: every task runs inside the request that sends "
                "it, and QStash is never used.",
                id="django_qstash.W009",
            )
        )
    if value_of("DJANGO_QSTASH_VALIDATE_CONNECTIVITY"):
        messages += _connectivity()
    return messages


@register(Tags.database)
def check_connections(databases: Any = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """W006 a new database connection for every delivery."""
    if not get_store().durable or django_settings.DEBUG:
        return []
    return _connections()


def _connections() -> list[CheckMessage]:
    from django.db import connections

    model = import_string("django_qstash.results.models.TaskResult")
    alias = router.db_for_write(model)
    options = connections[alias].settings_dict
    pooled = (options.get("OPTIONS") or {}).get("pool")
    if options.get("CONN_MAX_AGE") != 0 or pooled or connections[alias].vendor == "sqlite":
        return []
    return [
        Warning(
            f"The database {alias!r} has CONN_MAX_AGE=0: each delivery opens a connection of its "
            "own, which takes three to six times as long as the delivery itself.",
            hint="Set CONN_MAX_AGE to 60 or more, or use a connection pool.",
            id="django_qstash.W006",
        )
    ]


def _connectivity() -> Iterator[CheckMessage]:
    for account in _usable():
        yield from _connection_to(account)


def _usable() -> list[accounts.Account]:
    """Those that can be used; of the others E001 and E009 say what is wrong."""
    try:
        return [accounts.find(""), *accounts.usable()]
    except ImproperlyConfigured:
        return []


def _connection_to(account: accounts.Account) -> Iterator[CheckMessage]:
    try:
        keys = get_transport(account.name).request("GET", "/v2/keys")
    except (PublishError, ImproperlyConfigured) as error:
        yield Error(str(error), id="django_qstash.E006")
        return
    ours = {key for key in account.keys if key or not account.name}
    who = f" of the account {account.name!r}" if account.name else ""
    theirs = {keys.get("current"), keys.get("next")} if isinstance(keys, dict) else set()
    if theirs.isdisjoint(ours):
        yield Error(
            f"QStash signs with keys that are not the configured ones{who}: every delivery will be "
            "refused.",
            hint="Copy QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY from the console.",
            id="django_qstash.E007",
        )
    elif theirs != ours:
        yield Warning(
            f"The signing keys{who} were rotated at QStash: one of ours is out of date.",
            hint="Copy both signing keys from the console before the next rotation.",
            id="django_qstash.W011",
        )
