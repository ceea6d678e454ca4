"""``app.conf``: what was set on it, what its source says, and Celery's defaults, in this order.

The source is read when a setting is asked for, so ``override_settings(CELERY_…)`` works. Writing
loads nothing; the first reading has ``app.on_after_configure`` sent, as in Celery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.utils.functional import empty
from django.utils.module_loading import import_string

from django_qstash.application import known
from django_qstash.conf import UNSET, in_django_settings

#: Names whose values are not for people to read.
_SECRET = re.compile("API|TOKEN|KEY|SECRET|PASS|SIGNATURE|DATABASE|URL|BACKEND", re.IGNORECASE)


class Source:
    """Where ``config_from_object`` reads: a module, an object, a mapping, or Django's settings."""

    def __init__(self, source: Any, namespace: str | None, silent: bool = False) -> None:
        self._named = source
        self._silent = silent
        self.prefix = f"{namespace}_" if namespace else ""
        self._found: Any = UNSET

    @property
    def is_django(self) -> bool:
        return self._named in ("django.conf:settings", "django.conf.settings") or (
            self._named is django_settings
        )

    def find(self, name: str) -> tuple[Any, str]:
        """The value of a setting by Celery's name, and the name that it stands under."""
        for spelled in self.spellings(name):
            value = self._get(spelled)
            if value is not UNSET:
                return value, spelled
        return UNSET, ""

    def spellings(self, name: str) -> Iterator[str]:
        """The names that this setting may have in the source, the preferred one first."""
        yield f"{self.prefix}{name}".upper() if self.prefix else name
        if name in known.OLD_NAME:
            yield known.OLD_NAME[name]

    def names(self) -> Iterator[tuple[str, str]]:
        """Every setting that the source holds: Celery's name for it, and its own.

        Without a namespace only what Celery knows can be told from anything else.
        """
        for spelled in self._spelled():
            if spelled in known.OLD:
                yield known.OLD[spelled], spelled
            elif self.prefix and spelled.startswith(self.prefix):
                yield spelled[len(self.prefix) :].lower(), spelled
            elif not self.prefix and known.is_known(spelled):
                yield spelled, spelled

    def _spelled(self) -> list[str]:
        if self.is_django:
            return [name for name in dir(django_settings) if name.isupper()]
        found = self._load()
        if isinstance(found, Mapping):
            return [name for name in found if isinstance(name, str)]
        return [name for name in dir(found) if not name.startswith("_")]

    def _get(self, spelled: str) -> Any:
        if self.is_django:
            # Not loaded yet: celery.py is imported by the package of the settings themselves.
            if vars(django_settings).get("_wrapped") is empty:
                return UNSET
            return in_django_settings(spelled, UNSET)
        found = self._load()
        if isinstance(found, Mapping):
            return found.get(spelled, UNSET)
        return getattr(found, spelled, UNSET)

    def _load(self) -> Any:
        if self._found is UNSET:
            try:
                self._found = _imported(self._named)
            except ImportError:
                if not self._silent:
                    raise
                self._found = {}
        return self._found


def _imported(named: Any) -> Any:
    """The object that ``module``, ``module:attribute`` or ``module.attribute`` names."""
    if not isinstance(named, str):
        return named
    module, mark, attribute = named.partition(":")
    if mark:
        return getattr(import_module(module), attribute)
    try:
        return import_module(named)
    except ModuleNotFoundError as error:
        if error.name is None or not named.startswith(error.name) or "." not in named:
            raise
    return import_string(named)


class Configuration(MutableMapping[str, Any]):
    """Celery's settings as attributes and as items: ``app.conf.task_always_eager``."""

    def __init__(self, preset: Mapping[str, Any], load: Callable[[], None]) -> None:
        fields = self.__dict__
        fields["changes"] = {}
        fields["_added"] = {}
        fields["_source"] = None
        fields["_load"] = load
        #: Called after every change.
        fields["_changed"] = lambda: None
        self.update(preset)

    # --- asked by this package ------------------------------------------------------------------

    def peek(self, name: str) -> Any:
        """The value that the project gives a setting, or ``UNSET``; loads nothing."""
        for layer in (self.changes, self._added):
            if name in layer:
                return layer[name]
        return UNSET if self._source is None else self._source.find(name)[0]

    def given(self) -> dict[str, Any]:
        """Every setting that the project gives a value, by Celery's name."""
        values = {} if self._source is None else {name: None for name, _ in self._source.names()}
        names = [*values, *self._added, *self.changes]
        return {name: self.peek(name) for name in dict.fromkeys(names)}

    def spelled(self, name: str) -> str:
        """The name under which the project gives it: that of its settings file, if it is there."""
        if self._source is not None and name not in self.changes and name not in self._added:
            return str(self._source.find(name)[1] or name)
        return name

    def read_from(self, source: Source) -> None:
        """Go by another source from now on."""
        self.__dict__["_source"] = source
        self._changed()

    def add_defaults(self, values: Mapping[str, Any]) -> None:
        """Values that stand before those of the source, and behind what is set. As in Celery."""
        self._added.update({_name(name): value for name, value in values.items()})
        self._changed()

    # --- a mapping, and attributes --------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        self._load()
        key = self._key(name)
        value = self.peek(key)
        if value is not UNSET:
            return value
        if key == "beat_schedule":
            # Filled in place: app.conf.beat_schedule["name"] = {…}.
            return self.changes.setdefault(key, {})
        if key == "timezone" and self._source is not None and self._source.is_django:
            return in_django_settings("TIME_ZONE", None)
        return known.default_of(key)

    def __setitem__(self, name: str, value: Any) -> None:
        self.changes[self._key(name)] = value
        self._changed()

    def __delitem__(self, name: str) -> None:
        del self.changes[self._key(name)]
        self._changed()

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter({**dict.fromkeys(known.HONOURED), **self.given()})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        key = self._key(str(name))
        return known.is_known(key) or self.peek(key) is not UNSET

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"{name!r} is no setting of Celery's, and the project gives it no value."
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    # --- Celery's other words -------------------------------------------------------------------

    def without_defaults(self) -> dict[str, Any]:
        """What the project sets."""
        self._load()
        return self.given()

    def value_set_for(self, name: str) -> bool:
        """True if the project sets it."""
        return self.peek(self._key(name)) is not UNSET

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings as a dict; with ``censored`` those that may be secret are hidden."""
        found = dict(self) if with_defaults else self.without_defaults()
        return {
            name: "********" if censored and _SECRET.search(name) else value
            for name, value in found.items()
        }

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The same as lines of text."""
        table = self.table(with_defaults, censored)
        return "\n".join(f"{name}: {value!r}" for name, value in table.items())

    def __repr__(self) -> str:
        return f"<Configuration: {self.humanize() or 'nothing is set'}>"

    def _key(self, name: str) -> str:
        prefix = self._source.prefix if self._source is not None else ""
        if prefix and name.startswith(prefix) and name not in known.OLD:
            return name[len(prefix) :].lower()
        return _name(name)


def _name(name: str) -> str:
    """Celery's present name of a setting."""
    return known.OLD.get(name, name)
