"""Celery: ``celery.contrib``."""
