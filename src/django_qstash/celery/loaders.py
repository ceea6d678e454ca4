"""Celery: ``celery.loaders``. It has no place here, and importing it says why."""

from __future__ import annotations

from django_qstash.application.absent import refuse_module

refuse_module("loaders")
