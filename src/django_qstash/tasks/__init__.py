"""Celery's words: tasks, how they are sent, received, run, and what became of them."""
