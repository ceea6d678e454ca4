"""System checks: what is missing, malformed or dangerous, each under an id that stays.

``E`` ids stop ``manage.py``, so they are kept for what cannot work; what may be meant is a warning.
Those under ``--deploy`` look at a production site. Importing this registers them.
"""

from __future__ import annotations

from django_qstash.checks import address, celery, deployment, promises, settings

__all__ = ["address", "celery", "deployment", "promises", "settings"]
