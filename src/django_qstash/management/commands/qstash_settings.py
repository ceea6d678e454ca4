"""Print every setting, its value and where the value comes from, secrets masked."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_qstash.conf import Setting, find, read, table
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.transport.accounts import Account, named
from django_qstash.transport.address import domain, webhook_url


class Command(BaseCommand):
    help = "Print the settings of django-qstash, with secrets masked, and where each is set."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        rows = [(row.name, shown(row), find(row)[1]) for row in table()]
        widths = [max(len(cell[column]) for cell in rows) for column in (0, 1)]
        for name, value, source in rows:
            self.stdout.write(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}")
        self.stdout.write("")
        try:
            address = webhook_url()
        except ImproperlyConfigured as error:
            address = f"none: {error}"
        self.stdout.write(f"Domain in force: {domain() or 'none'}")
        self.stdout.write(f"Webhook address: {address}")


def shown(row: Setting) -> str:
    """The value as it may be printed."""
    try:
        value = read(row)
        if row.name == "DJANGO_QSTASH_ACCOUNTS":
            return "; ".join(f"{each.name}: {_told(each)}" for each in named()) or "{}"
    except ImproperlyConfigured as error:
        return f"INVALID: {error}"
    if row.secret:
        return mask(str(value))
    return repr(value)


def _told(account: Account) -> str:
    keys = f"{mask(account.current_signing_key)}, {mask(account.next_signing_key)}"
    return f"{account.url}, token {mask(account.token)}, signing keys {keys}"


def mask(secret: str) -> str:
    """Enough of a secret to recognise it by, and no more."""
    if not secret:
        return "not set"
    if len(secret) < 16:
        return "***"
    return f"{secret[:4]}…{secret[-2:]} ({len(secret)} characters)"
