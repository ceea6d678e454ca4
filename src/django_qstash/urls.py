"""Mount with ``path("qstash/webhook/", include("django_qstash.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_qstash.webhook.views import qstash_webhook_view

app_name = "django_qstash"

urlpatterns = [path("", qstash_webhook_view, name="webhook")]
