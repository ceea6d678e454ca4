"""Celery: ``celery.contrib.django``."""
