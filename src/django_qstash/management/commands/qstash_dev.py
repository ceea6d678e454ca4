"""``manage.py qstash_dev``: the embedded QStash server."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_qstash.devserver import cli


class Command(BaseCommand):
    help = cli.DESCRIPTION
    # It serves other projects as well as this one, whatever their state.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        status = cli.run(options)
        if status:
            sys.exit(status)
