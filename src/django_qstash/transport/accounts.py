"""The QStash accounts of this site: that of the QSTASH_* settings, and further ones by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, OptionError

#: Where a named account is, unless it says.
HOSTED = "https://qstash.upstash.io"
#: What the account of the QSTASH_* settings is called where one has to be named.
DEFAULT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_URL = re.compile(r"https?://[^/\s]+\S*")
_NEEDED = ("token", "current_signing_key")
_FIELDS = (*_NEEDED, "next_signing_key", "url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where one account's messages go, and what its deliveries are signed with."""

    #: ``""`` is the account of the QSTASH_* settings.
    name: str = ""
    token: str = field(repr=False)
    url: str
    current_signing_key: str = field(repr=False)
    next_signing_key: str = field(repr=False, default="")

    @property
    def keys(self) -> tuple[str, str]:
        return self.current_signing_key, self.next_signing_key

    def called(self, setting: str) -> str:
        """What a sentence calls one of its settings: ``token`` or ``url``."""
        if not self.name:
            return f"QSTASH_{setting.upper()}"
        return f"the {setting} of DJANGO_QSTASH_ACCOUNTS[{self.name!r}]"


def find(name: str) -> Account:
    """The account of this name. Raises :class:`ImproperlyConfigured`."""
    if not name:
        return Account(
            token=settings.QSTASH_TOKEN,
            url=settings.QSTASH_URL,
            current_signing_key=settings.QSTASH_CURRENT_SIGNING_KEY,
            next_signing_key=settings.QSTASH_NEXT_SIGNING_KEY,
        )
    configured = settings.DJANGO_QSTASH_ACCOUNTS
    if name not in configured:
        raise ImproperlyConfigured(_unknown(name, configured))
    if wrong := problem(name, configured[name]):
        raise ImproperlyConfigured(wrong)
    return Account(name=name, **{"url": HOSTED, **configured[name]})


def named() -> list[Account]:
    """All but the default one. Raises :class:`ImproperlyConfigured`."""
    return [find(name) for name in settings.DJANGO_QSTASH_ACCOUNTS]


def usable() -> list[Account]:
    """Those of the named ones whose settings have the right shape; a check tells of the others."""
    configured = settings.DJANGO_QSTASH_ACCOUNTS
    return [find(name) for name, given in configured.items() if problem(name, given) is None]


def checked(name: Any) -> str | None:
    """The option ``account`` of a task or a call. Raises :class:`OptionError`."""
    if name is None or name == DEFAULT:
        return None
    configured = settings.DJANGO_QSTASH_ACCOUNTS
    if not isinstance(name, str) or name not in configured:
        raise OptionError(_unknown(name, configured))
    return name


def problems() -> Iterator[str]:
    """What is wrong with the setting, a sentence each."""
    for name, given in settings.DJANGO_QSTASH_ACCOUNTS.items():
        if wrong := problem(name, given):
            yield wrong


def problem(name: Any, given: Any) -> str | None:
    """What is wrong with one account; ``None`` if nothing is. Shows no value of it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == DEFAULT:
        return (
            f"DJANGO_QSTASH_ACCOUNTS has an account called {name!r}: a name is made of letters, "
            f"digits, '-' and '_', and {DEFAULT!r} is that of the QSTASH_* settings."
        )
    where = f"DJANGO_QSTASH_ACCOUNTS[{name!r}]"
    if not isinstance(given, Mapping):
        return f"{where} must be a mapping with {', '.join(_FIELDS)}."
    unknown = sorted(str(each) for each in given if each not in _FIELDS)
    if unknown:
        return f"{where} knows no {', '.join(unknown)}; it knows {', '.join(_FIELDS)}."
    for each in _FIELDS:
        value = given.get(each)
        if value is None and each not in _NEEDED and each not in given:
            continue
        if not isinstance(value, str) or (each in _NEEDED and not value.strip()):
            return f"{where} needs a text as its {each!r}."
    if "url" in given and not _URL.fullmatch(given["url"]):
        return f"{where} has a url that is no address such as {HOSTED}."
    return None


def _unknown(name: Any, configured: Mapping[str, Any]) -> str:
    known = ", ".join([DEFAULT, *map(str, configured)])
    return f"account={name!r}: DJANGO_QSTASH_ACCOUNTS has no such account. There are: {known}."
