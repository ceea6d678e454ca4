"""What the current object's settings mean for the rooms below, which ask through ``conf.celery``.

A ``DJANGO_QSTASH_*`` setting that the project gives stands before the Celery setting of the same
meaning; a test can therefore override either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_qstash.application import current, routes
from django_qstash.conf import UNSET
from django_qstash.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django_qstash.application.configuration import Configuration

#: Seconds for which a result is kept that Celery would keep for ever: a hundred years.
FOR_EVER = 100 * 365 * 86400

#: Settings of ours that are a setting of Celery's, value and all.
_SAME: Mapping[str, str] = {
    "DJANGO_QSTASH_ALLOW_ERROR_CB_ON_CHORD_HEADER": "task_allow_error_cb_on_chord_header",
    "DJANGO_QSTASH_ALWAYS_EAGER": "task_always_eager",
    "DJANGO_QSTASH_BEAT_SCHEDULE": "beat_schedule",
    "DJANGO_QSTASH_EAGER_PROPAGATES": "task_eager_propagates",
    "DJANGO_QSTASH_STORE_EAGER_RESULT": "task_store_eager_result",
}
#: Those that are yes or no, whatever else a project writes for it.
_YES_OR_NO = frozenset(_SAME) - {"DJANGO_QSTASH_BEAT_SCHEDULE"}


class CurrentSettings:
    """The current ``Celery`` object's settings, as :class:`conf.CelerySettings` asks for them."""

    def of_ours(self, name: str) -> Any:
        """The value that Celery's settings give a setting of ours; ``UNSET`` if they say nothing.

        Raises :class:`ImproperlyConfigured`.
        """
        app = current.existing()
        if app is None:
            return UNSET
        if name in _SAME:
            value = app.conf.peek(_SAME[name])
            return bool(value) if name in _YES_OR_NO and value is not UNSET else value
        translate = _TRANSLATED.get(name)
        return UNSET if translate is None else translate(app.conf)

    def get(self, name: str, default: Any = None) -> Any:
        app = current.existing()
        value = UNSET if app is None else app.conf.peek(name)
        return default if value is UNSET else value

    def routed(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any
    ) -> Mapping[str, Any]:
        app = current.existing()
        return options if app is None else routes.routed(app, name, args, kwargs, options, task)


def _result_ttl(conf: Configuration) -> Any:
    """``result_expires``: seconds or a timedelta; nothing and zero keep results for ever."""
    value = conf.peek("result_expires")
    if value is UNSET:
        return UNSET
    if value is None or value == 0:
        return FOR_EVER
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ImproperlyConfigured(
            f"result_expires={value!r} must be seconds or a timedelta; None keeps results for ever."
        )
    return int(value)


def _publish_retries(conf: Configuration) -> Any:
    """``task_publish_retry`` and the ``max_retries`` of its policy."""
    if conf.peek("task_publish_retry") is False:
        return 0
    policy = conf.peek("task_publish_retry_policy")
    if not isinstance(policy, Mapping) or "max_retries" not in policy:
        return UNSET
    retries = policy["max_retries"]
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ImproperlyConfigured(
            f"task_publish_retry_policy has max_retries={retries!r}: a call must not wait for ever "
            "for QStash; write a number, and install django_qstash.outbox so that nothing is lost."
        )
    return retries


_TRANSLATED: Mapping[str, Callable[[Configuration], Any]] = {
    "DJANGO_QSTASH_PUBLISH_RETRIES": _publish_retries,
    "DJANGO_QSTASH_RESULT_TTL": _result_ttl,
}
