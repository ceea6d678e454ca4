"""The app's name and label."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "django_qstash.outbox"
    label = "django_qstash_outbox"
    verbose_name = "QStash outbox"
    default_auto_field = "django.db.models.BigAutoField"
