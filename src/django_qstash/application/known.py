"""Every setting that Celery 5.7 knows, and what becomes of it here.

The names are Celery's (its ``userguide/configuration``). A setting is *honoured*, *always so* here
whatever it says, *refused*, or *without effect*, for a reason that a system check gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

#: Settings that mean something here, and their values in Celery where a project says nothing.
HONOURED: Mapping[str, Any] = {
    "beat_schedule": {},
    "enable_utc": True,
    "imports": (),
    "include": (),
    "result_expires": timedelta(days=1),
    "task_acks_late": False,
    "task_allow_error_cb_on_chord_header": False,
    "task_always_eager": False,
    "task_annotations": None,
    "task_default_priority": None,
    "task_default_queue": "celery",
    "task_default_rate_limit": None,
    "task_default_routing_key": None,
    "task_eager_propagates": False,
    "task_ignore_result": False,
    "task_inherit_parent_priority": False,
    "task_publish_retry": True,
    "task_publish_retry_policy": {},
    "task_reject_on_worker_lost": None,
    "task_remote_tracebacks": False,
    "task_routes": None,
    "task_soft_time_limit": None,
    "task_store_eager_result": False,
    "task_store_errors_even_if_ignored": False,
    "task_time_limit": None,
    "timezone": None,
    "worker_task_log_format": None,
}

#: Settings for which there is one value here, and it suits most who set them: the value, and why.
ALWAYS: Mapping[str, tuple[Any, str]] = {
    "accept_content": (["json"], "letters are JSON"),
    "result_accept_content": (None, "results are JSON"),
    "result_extended": (True, "results always hold name, arguments and retries"),
    "result_persistent": (True, "results are rows of the database"),
    "result_serializer": ("json", "results are JSON"),
    "task_acks_on_failure": (True, "a task that failed is not delivered again"),
    "task_acks_on_failure_or_timeout": (True, "a task that failed is not delivered again"),
    "task_acks_on_timeout": (True, "a task that ran too long is not delivered again"),
    "task_create_missing_queues": (True, "a queue needs no making"),
    "task_protocol": (2, "letters have the fields of protocol 2"),
    "task_serializer": ("json", "letters are JSON"),
    "task_track_started": (True, "the row of a task says STARTED while it runs"),
}

#: Serializers and content types by which JSON goes.
JSON = frozenset({"json", "application/json", "application/data"})

_BROKER = "there is no broker"
_BEAT = "QStash fires the schedules"
_EVENTS = "there is no event bus"
_RESULTS = "results are kept by django_qstash.results"
_ROUTING = "there are no exchanges"
_WORKER = "the web server's processes run the tasks"
_JOIN = "chords join in the database"

#: Settings without a meaning here, and why.
WITHOUT_EFFECT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "beat_cron_starting_deadline",
            "beat_enable_remote_control",
            "beat_max_loop_interval",
            "beat_remote_control_max_tick_age",
            "beat_schedule_filename",
            "beat_scheduler",
            "beat_sync_every",
        ),
        _BEAT,
    ),
    **dict.fromkeys(
        (
            "result_backend",
            "result_backend_always_retry",
            "result_backend_base_sleep_between_retries_ms",
            "result_backend_max_retries",
            "result_backend_max_sleep_between_retries_ms",
            "result_backend_transport_options",
            "result_cache_max",
            "result_chord_expires",
            "result_compression",
            "result_exchange",
            "result_exchange_type",
            "result_failure_expires",
        ),
        _RESULTS,
    ),
    "result_chord_join_timeout": _JOIN,
    "result_chord_retry_interval": _JOIN,
    **dict.fromkeys(
        (
            "task_create_missing_queue_exchange_type",
            "task_create_missing_queue_type",
            "task_default_delivery_mode",
            "task_default_exchange",
            "task_default_exchange_type",
            "task_default_queue_type",
            "task_queue_max_priority",
            "task_queues",
        ),
        _ROUTING,
    ),
    "task_compression": "letters are small, and are not compressed",
    "task_repr_maxlevels": "arguments are shown by their own repr",
    "task_retry_on_worker_lost": "a task whose process died is run again, unless acks_late=False",
    "task_send_sent_event": _EVENTS,
}

#: Whole families of such settings, by how their names begin.
FAMILIES: Mapping[str, str] = {
    "arangodb_": _RESULTS,
    "azureblockblob_": _RESULTS,
    "broker_": _BROKER,
    "cache_": _RESULTS,
    "cassandra_": _RESULTS,
    "control_": _WORKER,
    "cosmosdbsql_": _RESULTS,
    "couchbase_": _RESULTS,
    "couchdb_": _RESULTS,
    "database_": _RESULTS,
    "dynamodb_": _RESULTS,
    "elasticsearch_": _RESULTS,
    "event_": _EVENTS,
    "filesystem_": _RESULTS,
    "gcs_": _RESULTS,
    "mongodb_": _RESULTS,
    "redis_": _RESULTS,
    "s3_": _RESULTS,
    "security_": "QStash signs what it delivers",
    "worker_": _WORKER,
}

#: Names that settings had before Celery 4, and have now.
OLD: Mapping[str, str] = {
    "BROKER_URL": "broker_url",
    "CELERYBEAT_SCHEDULE": "beat_schedule",
    "CELERYBEAT_SCHEDULER": "beat_scheduler",
    "CELERYD_CONCURRENCY": "worker_concurrency",
    "CELERYD_MAX_TASKS_PER_CHILD": "worker_max_tasks_per_child",
    "CELERYD_PREFETCH_MULTIPLIER": "worker_prefetch_multiplier",
    "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERY_ACCEPT_CONTENT": "accept_content",
    "CELERY_ACKS_LATE": "task_acks_late",
    "CELERY_ALWAYS_EAGER": "task_always_eager",
    "CELERY_ANNOTATIONS": "task_annotations",
    "CELERY_DEFAULT_PRIORITY": "task_default_priority",
    "CELERY_DEFAULT_QUEUE": "task_default_queue",
    "CELERY_DEFAULT_RATE_LIMIT": "task_default_rate_limit",
    "CELERY_DEFAULT_ROUTING_KEY": "task_default_routing_key",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_ENABLE_UTC": "enable_utc",
    "CELERY_IGNORE_RESULT": "task_ignore_result",
    "CELERY_IMPORTS": "imports",
    "CELERY_INCLUDE": "include",
    "CELERY_INHERIT_PARENT_PRIORITY": "task_inherit_parent_priority",
    "CELERY_REJECT_ON_WORKER_LOST": "task_reject_on_worker_lost",
    "CELERY_REMOTE_TRACEBACKS": "task_remote_tracebacks",
    "CELERY_RESULT_BACKEND": "result_backend",
    "CELERY_RESULT_SERIALIZER": "result_serializer",
    "CELERY_ROUTES": "task_routes",
    "CELERY_STORE_EAGER_RESULT": "task_store_eager_result",
    "CELERY_STORE_ERRORS_EVEN_IF_IGNORED": "task_store_errors_even_if_ignored",
    "CELERY_TASK_PUBLISH_RETRY": "task_publish_retry",
    "CELERY_TASK_PUBLISH_RETRY_POLICY": "task_publish_retry_policy",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_TASK_SERIALIZER": "task_serializer",
    "CELERY_TIMEZONE": "timezone",
    "CELERY_TRACK_STARTED": "task_track_started",
}

#: The old name of a setting, where it had one.
OLD_NAME: Mapping[str, str] = {new: old for old, new in OLD.items()}


def why_without_effect(name: str) -> str | None:
    """Why a setting changes nothing here; ``None`` if it does, or if nobody knows it."""
    if name in HONOURED or name in ALWAYS:
        return None
    if name in WITHOUT_EFFECT:
        return WITHOUT_EFFECT[name]
    return next((why for prefix, why in FAMILIES.items() if name.startswith(prefix)), None)


def is_known(name: str) -> bool:
    """True for a setting of Celery's."""
    return name in HONOURED or name in ALWAYS or why_without_effect(name) is not None


def default_of(name: str) -> Any:
    """What Celery's configuration says where the project does not. Raises ``KeyError``."""
    if name in HONOURED:
        return HONOURED[name]
    if name in ALWAYS:
        return ALWAYS[name][0]
    if why_without_effect(name) is None:
        raise KeyError(name)
    return None


def complaint(name: str, value: Any) -> str | None:
    """What is asked for that cannot be; ``None`` if nothing is."""
    wanted = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    if name in ("task_serializer", "result_serializer") and value not in (None, *JSON):
        return f"{name}={value!r}: letters and results are JSON, and are never unpickled."
    if name in ("accept_content", "result_accept_content") and value is not None:
        if not any(kind in JSON for kind in wanted):
            return f"{name}={value!r} leaves JSON out, and letters are JSON."
        return None
    if name in ALWAYS and name.startswith("task_acks_on") and value is False:
        return f"{name}=False: {ALWAYS[name][1]}; use autoretry_for, or Reject(requeue=True)."
    return None
