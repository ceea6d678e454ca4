"""``python -m django_qstash.migrate``: what a code base that uses Celery has to change.

The whole package needs nothing but the standard library, so it also runs where Celery's settings
are the only ones there are.
"""
