"""What happens once, when Django starts: tasks are found, checks registered, SIGTERM watched."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class DjangoQStashConfig(AppConfig):
    name = "django_qstash"
    label = "django_qstash"
    verbose_name = "Django QStash"

    def ready(self) -> None:
        from django_qstash import checks  # noqa: F401 - registers them
        from django_qstash.application import discovery
        from django_qstash.conf import runserver_address
        from django_qstash.tasks.registry import autodiscover, settings_packages
        from django_qstash.webhook import shutdown
        from django_qstash.workflows import checks as of_workflows  # noqa: F401 - as well

        autodiscover()
        load_task_backends()
        discovery.start(settings_packages())
        shutdown.watch()
        if runserver_address() is not None:
            from django_qstash.webhook.runserver import start_embedded_server

            start_embedded_server()


def load_task_backends() -> None:
    """A delivery may be the first in its process to ask for a task of Django's own framework."""
    from django.conf import settings

    for params in (getattr(settings, "TASKS", None) or {}).values():
        if str(params.get("BACKEND", "")).startswith("django_qstash.backend."):
            import_module("django_qstash.backend")
