"""Remove workflow runs, events and dead letters that are old."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

APP = "django_qstash.workflows"


class Command(BaseCommand):
    help = "Remove workflow runs that ended more than --days-old days ago, and old dead letters."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days-old",
            type=float,
            default=30,
            metavar="DAYS",
            help="Remove what ended longer ago than this (%(default)s).",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be removed, and remove nothing."
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            default=1000,
            metavar="N",
            help="Rows that one transaction removes (%(default)s).",
        )
        only = parser.add_mutually_exclusive_group()
        only.add_argument("--workflows-only", action="store_true", help="Leave dead letters alone.")
        only.add_argument("--dlq-only", action="store_true", help="Remove dead letters only.")
        parser.add_argument(
            "--include-running",
            action="store_true",
            help="Also cancel and remove open runs that began before, and are not due any more.",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        if not apps.is_installed(APP):
            raise CommandError(f"There are no workflow runs: {APP!r} is not in INSTALLED_APPS.")
        if options["dlq_only"] and options["include_running"]:
            raise CommandError("--include-running is about runs, which --dlq-only leaves alone.")
        from django_qstash.workflows.cleanup import cleanup

        try:
            removed = cleanup(
                options["days_old"],
                dry_run=options["dry_run"],
                batch_size=options["batch_size"],
                runs=not options["dlq_only"],
                dead_letters=not options["workflows_only"],
                include_running=options["include_running"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        counts = (
            f"{_count(removed.runs, 'run')}, {_count(removed.events, 'event')} and "
            f"{_count(removed.dead_letters, 'dead letter')}"
        )
        self.stdout.write(f"{counts} {'would be ' if options['dry_run'] else ''}removed.")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
