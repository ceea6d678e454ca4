"""Imported by nobody before a delivery asks for it."""

from __future__ import annotations

from tests.djangotasks.jobs import task


@task
def late():
    return "late"


def plain():
    """No task at all."""
