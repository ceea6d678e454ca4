from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SchedulesConfig(AppConfig):
    name = "django_qstash.schedules"
    label = "django_qstash_schedules"
    verbose_name = _("QStash schedules")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_qstash.schedules import sync  # noqa: F401 - hears of deleted rows
