"""Functions with Django's own ``@task``; imported only where there is a framework for it."""

from __future__ import annotations

from django_qstash.backend import FAMILY

if FAMILY == "django.tasks":
    from django.tasks import task
else:
    from django_tasks import task

from tests.shop.models import Effect

seen = []


@task
def add(x, y):
    """Add two numbers."""
    return x + y


@task
async def add_async(x, y):
    return x + y


@task
def note(name, **details):
    Effect.objects.create(name=name)
    return (name, details)


@task(queue_name="mail")
def post(name):
    return name


@task(takes_context=True)
def with_context(context, word):
    seen.append(context)
    return [context.attempt, context.task_result.id, word]


@task
def fail(message):
    raise ValueError(message)


@task
def unstorable():
    return object()
