"""QStash tells that it gave one of our letters up: whoever sent that kind of letter hears it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string

from django_qstash.exceptions import MessageError
from django_qstash.messages import decode, kind_of, source_of
from django_qstash.wire.delivery import Delivery, Reply

Handler = Callable[[Mapping[str, Any], Mapping[str, Any], Delivery], Reply]

#: Who hears of letters of which kind. A sub-app may be absent.
HANDLERS: Mapping[str, tuple[str | None, str]] = {
    "task": (None, "django_qstash.tasks.given_up.receive"),
    "schedule": ("django_qstash.schedules", "django_qstash.schedules.delivery.given_up"),
    "workflow": ("django_qstash.workflows", "django_qstash.workflows.given_up.receive"),
    "carried": (None, "django_qstash.workflows.carried.engine.given_up"),
}


def receive(delivery: Delivery) -> Reply:
    """Hand QStash's account, and the letter in it, on. Raises :class:`MessageError`."""
    callback = decode(delivery.body)
    letter = decode(source_of(callback))
    kind = kind_of(letter)
    app, path = HANDLERS.get(kind, (None, None))
    if path is None or (app is not None and not apps.is_installed(app)):
        raise MessageError(f"The failure callback is about a letter of the kind {kind!r}.")
    handler: Handler = import_string(path)
    return handler(callback, letter, delivery)
