"""What is configured, where it can be read: what cannot is said by the checks of settings."""

from __future__ import annotations

from typing import Any

from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured

TAG = "django_qstash"


def value_of(name: str) -> Any:
    """A setting's value; ``None`` for one that E001 refuses."""
    try:
        return getattr(settings, name)
    except ImproperlyConfigured:
        return None
