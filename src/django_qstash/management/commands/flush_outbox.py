"""Send what waits in the outbox."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.tasks.outbox import get_outbox


class Command(BaseCommand):
    help = "Send the messages that wait in the outbox: those that QStash could not take at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database",
            metavar="ALIAS",
            help="Look into this database only; by default into every one that has an outbox.",
        )

    def handle(self, *args: Any, database: str | None, **options: Any) -> None:  # noqa: ARG002
        if get_outbox() is None:
            raise CommandError(
                "There is no outbox: 'django_qstash.outbox' is not in INSTALLED_APPS."
            )
        from django_qstash.outbox import rows
        from django_qstash.outbox.flush import databases, flush_all

        known = databases()
        if database is not None and database not in known:
            raise CommandError(
                f"--database {database}: the databases with an outbox are {', '.join(known)}."
            )
        sent, problems = 0, []
        for alias in known if database is None else [database]:
            try:
                sent += flush_all(alias)
            except (PublishError, ImproperlyConfigured) as error:
                problems.append(str(error))
            else:
                problems += rows.failures(alias)
        self.stdout.write(f"{sent} message{'' if sent == 1 else 's'} sent.")
        if problems:
            raise CommandError(f"Some are still in the outbox. {' '.join(dict.fromkeys(problems))}")
