"""System checks: what is missing, malformed or dangerous, each under an id that stays.

``E`` ids stop ``manage.py``, so they are kept for what cannot work; what may be meant is a warning.
Those under ``--deploy`` look at a production site.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register  # noqa: A004
from django.db import router
from django.http.request import validate_host
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string

from django_qstash import conf, signals
from django_qstash.application import known
from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store
from django_qstash.transport import accounts, get_transport
from django_qstash.transport.address import domain, is_loopback, webhook_url

TAG = "django_qstash"
VIEW = "django_qstash.webhook.views.qstash_webhook_view"
SCHEDULES = "django_qstash.schedules"
#: The apps that have rows of their own.
KEEPING = (
    "django_qstash.outbox",
    "django_qstash.results",
    "django_qstash.workflows",
    SCHEDULES,
)


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
def check_address(**_: Any) -> list[CheckMessage]:
    """E002 no address; W005 no https; E003 a path that does not lead to our view."""
    return list(_address())


@register(TAG)
def check_tasks(**_: Any) -> list[CheckMessage]:
    """E004 one name for two tasks."""
    return [
        Error(
            f"The task name {duplicate.name!r} is given to two functions: {duplicate.kept}, which "
            f"has it, and {duplicate.refused}, which can never run.",
            hint="Give one of them another name: @shared_task(name=…).",
            id="django_qstash.E004",
        )
        for duplicate in tasks.duplicates
    ]


@register(TAG)
def check_promises(**_: Any) -> list[CheckMessage]:
    """E008, W012, W013: what tasks ask for that this site's apps and databases cannot give."""
    messages: list[CheckMessage] = []
    atomic = sorted(name for name, task in tasks.items() if task.atomic)
    once = sorted(name for name, task in tasks.items() if task.acks_late is False)
    if not get_store().durable:
        if atomic:
            messages.append(
                Error(
                    f"{', '.join(atomic)}: atomic=True commits the body together with its result, "
                    "and 'django_qstash.results' is not installed.",
                    hint="Add it to INSTALLED_APPS and run migrate.",
                    id="django_qstash.E008",
                )
            )
        if once:
            messages.append(
                Warning(
                    f"{', '.join(once)}: acks_late=False asks to be run at most once, and without "
                    "'django_qstash.results' nobody remembers that it was.",
                    hint="Add it to INSTALLED_APPS and run migrate.",
                    id="django_qstash.W012",
                )
            )
    elif atomic and len(django_settings.DATABASES) > 1:
        alias = router.db_for_write(import_string("django_qstash.results.models.TaskResult"))
        messages.append(
            Warning(
                f"{', '.join(atomic)}: atomic=True commits on the database {alias!r} of the "
                "results, and on no other; effects on other databases may happen twice.",
                hint=f"Write to {alias!r} only in these tasks, and silence this warning.",
                id="django_qstash.W013",
            )
        )
    return messages


@register(TAG)
def check_instants(**_: Any) -> list[CheckMessage]:
    """E011: rows of ours hold instants, and the site's have no time zone."""
    keeping = sorted(filter(apps.is_installed, KEEPING))
    if django_settings.USE_TZ or not keeping:
        return []
    return [
        Error(
            f"USE_TZ is False, and {', '.join(keeping)} keep instants: SQLite and MySQL refuse "
            "them then, and PostgreSQL gives them back without their zone.",
            hint="Set USE_TZ = True. Django's documentation, under time zones, has a guide.",
            id="django_qstash.E011",
        )
    ]


@register(TAG)
def check_schedules(**_: Any) -> list[CheckMessage]:
    """W015, W016, E010: code says when something runs, and it cannot be so."""
    if apps.is_installed(SCHEDULES):
        return list(_declared())
    timed = sorted(name for name, task in tasks.items() if task.cron is not None)
    found = [f"cron= of {', '.join(timed)}"] if timed else []
    # Canvases come with it, which loading the apps does without.
    from django_qstash.application import periodic

    with suppress(ImproperlyConfigured):  # E001 says so
        if entries := sorted(map(str, periodic.entries())):
            found.append(f"beat_schedule or add_periodic_task: {', '.join(entries)}")
    if not found:
        return []
    return [
        Warning(
            f"These never run, since {SCHEDULES!r} is not installed: {'; '.join(found)}.",
            hint="Add it to INSTALLED_APPS, run migrate, and then task_schedules --sync.",
            id="django_qstash.W015",
        )
    ]


def _declared() -> Iterator[CheckMessage]:
    from django_qstash.schedules import code

    with suppress(ImproperlyConfigured):  # E001 says so
        for each in code.declared():
            if each.needs_results:
                yield Error(
                    f"The schedule {each.name!r} in the code: {each.problem}",
                    hint="Or leave its overlap out.",
                    id="django_qstash.E010",
                )
            elif problem := each.problem or code.misfit(each):
                yield Warning(
                    f"The schedule {each.name!r} in the code: {problem}",
                    hint="Mend it, and then run task_schedules --sync.",
                    id="django_qstash.W016",
                )


@register(TAG)
def check_celery(**_: Any) -> list[CheckMessage]:
    """E030, W030 to W032: what a Celery object, or its signals, ask for that is not to be had."""
    return [*_celery_settings(), *_silent_signals()]


@register(TAG)
def check_development_credentials(**_: Any) -> list[CheckMessage]:
    """E005 credentials that everybody knows, outside DEBUG."""
    # Tests run with DEBUG off, against whatever a developer has in the environment.
    if django_settings.DEBUG or conf.under_test():
        return []
    known = {conf.DEVELOPMENT_TOKEN, conf.DEVELOPMENT_CURRENT_KEY, conf.DEVELOPMENT_NEXT_KEY}
    names = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_TOKEN")
    used = [name for name in names if _value(name) in known]
    further = _value("DJANGO_QSTASH_ACCOUNTS") or {}
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


@register(Tags.database)
def check_connections(databases: Any = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """W006 a new database connection for every delivery."""
    if not get_store().durable or django_settings.DEBUG:
        return []
    return _connections()


@register(TAG, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """W006 to W009, I001: what a production site should look at."""
    messages: list[CheckMessage] = []
    for account in _accounts():
        if account.url.startswith("http://"):
            said = account.called("url")
            messages.append(
                Warning(
                    f"{said}={account.url!r} is not https: the token travels in the clear.",
                    id="django_qstash.W007",
                )
            )
    if _value("DJANGO_QSTASH_VERIFY_SSL") is False:
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
    if _value("DJANGO_QSTASH_ALWAYS_EAGER"):
        messages.append(
            Warning(
                "DJANGO_QSTASH_ALWAYS_EAGER is on: every task runs inside the request that sends "
                "it, and QStash is never used.",
                id="django_qstash.W009",
            )
        )
    if _value("DJANGO_QSTASH_VALIDATE_CONNECTIVITY"):
        messages += _connectivity()
    return messages


def _celery_settings() -> Iterator[CheckMessage]:
    """Each Celery object's settings, sorted by what becomes of them here."""
    module = sys.modules.get("django_qstash.application.current")
    for app in [] if module is None else module.all_apps():
        dead: dict[str, list[str]] = {}
        unknown: list[str] = []
        for name, value in app.conf.given().items():
            shown = app.conf.spelled(name)
            if problem := known.complaint(name, value):
                yield Error(f"{shown}: {problem}", id="django_qstash.E030")
            elif why := known.why_without_effect(name):
                dead.setdefault(why, []).append(shown)
            elif name in known.ALWAYS and value != known.ALWAYS[name][0]:
                if name not in ("accept_content", "result_accept_content"):
                    dead.setdefault(known.ALWAYS[name][1], []).append(shown)
            elif not known.is_known(name):
                unknown.append(shown)
        if dead:
            told = "; ".join(f"{', '.join(sorted(names))} ({why})" for why, names in dead.items())
            yield Warning(
                f"These settings of {app} have no effect here: {told}.",
                hint="Remove them, or silence this warning.",
                id="django_qstash.W030",
            )
        if unknown:
            yield Warning(
                f"Celery knows no setting {', '.join(sorted(unknown))} of {app}.",
                hint=_closest(unknown),
                id="django_qstash.W031",
            )


def _closest(names: list[str]) -> str | None:
    settings_of_celery = [*known.HONOURED, *known.ALWAYS, *known.WITHOUT_EFFECT]
    for name in names:
        plain = name.lower().removeprefix("celery_")
        if close := difflib.get_close_matches(plain, settings_of_celery, n=1):
            return f"Did you mean {close[0]!r} by {name}?"
    return None


def _silent_signals() -> Iterator[CheckMessage]:
    heard = [name for name in signals.SILENT if getattr(signals, name).is_heard()]
    for name in sorted(heard):
        yield Warning(
            f"A receiver waits for the signal {name}, which is never sent here: "
            f"{signals.SILENT[name]}.",
            id="django_qstash.W032",
        )


def _malformed() -> Iterator[CheckMessage]:
    for row in conf.table():
        try:
            conf.read(row)
        except ImproperlyConfigured as error:
            yield Error(str(error), id="django_qstash.E001")
    try:
        limit = _value("DJANGO_QSTASH_WEBHOOK_RATE_LIMIT")
        if limit is not None:
            import_string("django_qstash.webhook.fence.parse_rate")(limit)
        if _value("DJANGO_QSTASH_MESSAGE_PRICE") is not None:
            import_string("django_qstash.workflows.price.message_price")()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="django_qstash.E001")
    url = _value("QSTASH_URL")
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
        value = _value(name)
        if isinstance(value, (int, float)) and value < least:
            yield Error(
                f"{name}={value!r} must be at least {least}.",
                id="django_qstash.E001",
            )


def _missing() -> Iterator[CheckMessage]:
    if _value("DJANGO_QSTASH_ALWAYS_EAGER"):
        return
    if not _value("QSTASH_TOKEN"):
        yield Warning(
            "QSTASH_TOKEN is not set, so no task can be sent.",
            hint=_where("it"),
            id="django_qstash.W001",
        )
    keys = [_value("QSTASH_CURRENT_SIGNING_KEY"), _value("QSTASH_NEXT_SIGNING_KEY")]
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
    import os

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


def _address() -> Iterator[CheckMessage]:
    configured = _domain()
    if configured is None or (not configured and _value("DJANGO_QSTASH_ALWAYS_EAGER")):
        return
    try:
        url = webhook_url()
    except ImproperlyConfigured as error:
        # Without any domain, direct calls and eager tasks still work: no reason to stop manage.py.
        kind, number = (Error, "E002") if configured else (Warning, "W010")
        yield kind(str(error), id=f"django_qstash.{number}")
        return
    host = urlsplit(url).hostname or ""
    allowed = django_settings.ALLOWED_HOSTS or (
        [".localhost", "127.0.0.1", "[::1]"] if django_settings.DEBUG else []
    )
    if not conf.under_test() and not validate_host(host, allowed):
        yield Warning(
            f"ALLOWED_HOSTS does not allow {host!r}, the host of DJANGO_QSTASH_DOMAIN: Django will "
            "answer every delivery with 400.",
            hint=f"Add {host!r} to ALLOWED_HOSTS.",
            id="django_qstash.W014",
        )
    if url.startswith("http://") and not is_loopback(host) and not django_settings.DEBUG:
        yield Warning(
            f"DJANGO_QSTASH_DOMAIN={configured!r} is not https, so anyone on the way can read what "
            "is delivered.",
            hint="Use https://, and leave DJANGO_QSTASH_FORCE_HTTPS on.",
            id="django_qstash.W005",
        )
    yield from _path()


def _path() -> Iterator[CheckMessage]:
    path: str = _value("DJANGO_QSTASH_WEBHOOK_PATH")
    try:
        view = resolve(path).func
    except Resolver404:
        view = None
    except Exception:  # noqa: BLE001 - a broken URLconf has checks of its own
        return
    if view is not import_string(VIEW):
        found = "nothing" if view is None else f"{view.__module__}.{view.__name__}"
        yield Error(
            f"DJANGO_QSTASH_WEBHOOK_PATH={path!r} leads to {found}, not to our view, so no "
            "delivery can arrive.",
            hint=(
                f'Add path("{path.lstrip("/")}", include("django_qstash.urls")) to the root '
                "URLconf, or set the path at which you have included it."
            ),
            id="django_qstash.E003",
        )


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
    for account in _accounts():
        yield from _connection_to(account)


def _accounts() -> list[accounts.Account]:
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


def _value(name: str) -> Any:
    try:
        return getattr(settings, name)
    except ImproperlyConfigured:
        return None


def _domain() -> str | None:
    try:
        return domain()
    except ImproperlyConfigured:
        return None
