"""Remove finished results that are older than the TTL."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_qstash.conf import settings
from django_qstash.tasks.store import get_store


class Command(BaseCommand):
    help = "Remove finished task results older than --since seconds (DJANGO_QSTASH_RESULT_TTL)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=float,
            metavar="SECONDS",
            help="Remove what finished longer ago than this.",
        )
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="Do not ask before removing.",
        )

    def handle(self, *args: Any, since: float | None, interactive: bool, **options: Any) -> None:  # noqa: ARG002
        if not get_store().durable:
            raise CommandError(
                "There are no results: 'django_qstash.results' is not in INSTALLED_APPS."
            )
        from django_qstash.results.cleanup import clear

        age = settings.DJANGO_QSTASH_RESULT_TTL if since is None else since
        if age < 0:
            raise CommandError("--since must be zero or more.")
        if interactive and not self._agreed(age):
            self.stdout.write("Nothing was removed.")
            return
        count = clear(age)
        self.stdout.write(f"{count} result{'' if count == 1 else 's'} removed.")

    def _agreed(self, age: float) -> bool:
        try:
            answer = input(f"Remove results older than {age:g} s? [y/N] ")
        except EOFError:
            raise CommandError("There is nobody to ask: use --no-input.") from None
        return answer.strip().lower() in ("y", "yes")
