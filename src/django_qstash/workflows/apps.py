"""The app that keeps workflow runs in the database."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WorkflowsConfig(AppConfig):
    name = "django_qstash.workflows"
    label = "django_qstash_workflows"
    verbose_name = _("Workflows")
    default_auto_field = "django.db.models.BigAutoField"
