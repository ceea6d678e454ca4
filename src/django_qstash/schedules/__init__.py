"""Tasks that come by the clock: Celery's words for when."""
