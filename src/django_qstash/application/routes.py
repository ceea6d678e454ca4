"""``task_routes``: which queue a task goes to, where neither the call nor the task says so."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django_qstash.application.imports import symbol_by_name
from django_qstash.conf import UNSET
from django_qstash.exceptions import OptionError
from django_qstash.tasks import options as call_options

if TYPE_CHECKING:
    from django_qstash.application.app import Celery

Router = Callable[..., Any]


def routed(
    app: Celery, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any
) -> Mapping[str, Any]:
    """The options of a call with those that its route adds; what is given already stays.

    Raises :class:`OptionError` for a route that is none.
    """
    table = app.conf.peek("task_routes")
    default = app.conf.peek("task_default_queue")
    if default is UNSET:
        default = app.conf.peek("task_default_routing_key")
    if not table and not default:
        return options
    given = {key: value for key, value in options.items() if value is not None}
    for key in ("queue", "routing_key"):
        if (value := getattr(task, key, None)) is not None:
            given.setdefault(key, value)
    route = _find(table, name, args, kwargs, given, task) if table else None
    if route is None:
        named = "queue" in given or "routing_key" in given
        return options if named or not default else {**options, "queue": _name(default)}
    return {**options, **_cleaned(name, route), **given}


def _find(
    table: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any
) -> Any:
    routers = table if isinstance(table, (list, tuple)) else [table]
    # A list of pairs is one map; a list of anything else is a list of routers.
    if routers and all(isinstance(each, (list, tuple)) and len(each) == 2 for each in routers):
        routers = [dict(routers)]
    for router in routers:
        route = _ask(router, name, args, kwargs, options, task)
        if route is not None:
            return route
    return None


def _ask(
    router: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any
) -> Any:
    if isinstance(router, str):
        router = symbol_by_name(router)
        if isinstance(router, type):
            router = router()
    if isinstance(router, (list, tuple)):
        router = dict(router)
    if isinstance(router, Mapping):
        return _match(router, name)
    if hasattr(router, "route_for_task"):
        return router.route_for_task(name, args, kwargs)
    return router(name, args, kwargs, dict(options), task=task)


def _match(routes: Mapping[Any, Any], name: str) -> Any:
    """The route of this very name, else that of the first pattern that fits."""
    if name in routes:
        return routes[name]
    for pattern, route in routes.items():
        if isinstance(pattern, re.Pattern):
            if pattern.match(name):
                return route
        elif "*" in pattern and fnmatch.fnmatchcase(name, pattern):
            return route
    return None


def _cleaned(name: str, route: Any) -> dict[str, Any]:
    """A route's options: a queue's name stands for ``{"queue": …}``."""
    if isinstance(route, str) or hasattr(route, "name"):
        return {"queue": _name(route)}
    if not isinstance(route, Mapping):
        raise OptionError(f"task_routes gives {name} {route!r}, which is no queue and no options.")
    known = call_options.CELERY | call_options.DELIVERY | call_options.BROKER
    unknown = sorted(set(route) - known)
    if unknown:
        raise OptionError(f"task_routes gives {name} {', '.join(unknown)}: no option of a call.")
    cleaned = dict(route)
    if cleaned.get("queue") is not None:
        cleaned["queue"] = _name(cleaned["queue"])
    return cleaned


def _name(queue: Any) -> Any:
    """The name of a queue; kombu's ``Queue`` has one."""
    return queue if isinstance(queue, str) else getattr(queue, "name", queue)
