"""Attributes of tasks that the project's ``Celery`` object may give a value for all of them."""

from __future__ import annotations

from typing import Any

from django_qstash import conf


class Configured:
    """An attribute that is Celery's setting of a name where neither task nor base class has it.

    It is asked for each time, so that a setting may change.
    """

    def __init__(self, setting: str, default: Any) -> None:
        self.setting = setting
        self.default = default

    def __get__(self, instance: Any, owner: type) -> Any:
        if conf.celery is None:
            return self.default
        value = conf.celery.get(self.setting)
        return self.default if value is None else value


def configured(setting: str, default: Any) -> Any:
    """:class:`Configured`, typed as whatever the annotation says."""
    return Configured(setting, default)


def without_unset(base: type, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a task; ``None`` for such an attribute leaves it to the setting, as in Celery."""
    return {
        name: value
        for name, value in options.items()
        if value is not None or not isinstance(_declared(base, name), Configured)
    }


def _declared(base: type, name: str) -> Any:
    for kind in base.__mro__:
        if name in vars(kind):
            return vars(kind)[name]
    return None
