"""List the tasks of this site."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_qstash.tasks.registry import path_of, tasks


class Command(BaseCommand):
    help = "List the tasks that this site can run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--locations",
            action="store_true",
            help="Print the dotted paths of their functions only.",
        )

    def handle(self, *args: Any, locations: bool, **options: Any) -> None:  # noqa: ARG002
        found = tasks.listed()
        if locations:
            for path in dict.fromkeys(path_of(task) for _, task in found):
                self.stdout.write(path)
            return
        if not found:
            self.stdout.write("No tasks. Decorate a function in an app's tasks.py.")
            return
        width = max(len(name) for name, _ in found)
        for name, task in found:
            summary = (task.__doc__ or "").strip().partition("\n")[0]
            where = "" if name == path_of(task) else f"  ({path_of(task)})"
            self.stdout.write(f"{name:<{width}}  {summary}{where}".rstrip())
