"""The ``Celery`` object: what a project's ``celery.py`` makes, and what its settings mean here."""
