"""The webhook under the name that sites import: ``django_qstash.views.qstash_webhook_view``."""

from __future__ import annotations

from django_qstash.webhook.views import qstash_webhook_view

__all__ = ["qstash_webhook_view"]
