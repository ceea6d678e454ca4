"""Real Celery, which stays."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "both.settings")

app = Celery("both")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
