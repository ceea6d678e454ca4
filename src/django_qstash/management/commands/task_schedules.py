"""``manage.py task_schedules``: what runs when, and whether QStash knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router
from django.utils import timezone

from django_qstash.exceptions import ImproperlyConfigured, NotRegistered, PublishError
from django_qstash.tasks.registry import tasks

APP = "django_qstash.schedules"
#: What only --sync heeds.
OF_SYNC = ("dry_run", "prune", "move_from", "new_ids")


class Command(BaseCommand):
    help = (
        "Lists the scheduled tasks of this site, or brings code, database and QStash together. "
        "Only schedules that fire at this site's own webhook are looked at."
    )

    def add_arguments(self, parser: Any) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--list", action="store_true", help="Show them as a table.")
        what.add_argument("--sync", action="store_true", help="Tell QStash what it does not know.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what --sync would do.")
        parser.add_argument(
            "--no-input", action="store_false", dest="interactive", help="Ask nothing."
        )
        parser.add_argument(
            "--prune",
            action="store_true",
            help="Delete schedules that only QStash knows, and those whose code is gone.",
        )
        parser.add_argument(
            "--move-from",
            metavar="URL",
            help="The webhook's former address: schedules of ours that fire there are moved here.",
        )
        parser.add_argument(
            "--new-ids",
            action="store_true",
            help="This database is a copy of another site's: make schedules of its own.",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        from django.apps import apps

        if not apps.is_installed(APP):
            raise CommandError(
                f"Schedules are kept by the app {APP!r}: add it to INSTALLED_APPS and run migrate."
            )
        from django_qstash.schedules import reconcile

        if options["list"] and (ignored := [name for name in OF_SYNC if options[name]]):
            said = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
            raise CommandError(f"--list changes nothing, so {said} belongs to --sync.")
        try:
            plan = reconcile.make_plan(
                prune=options["prune"],
                move_from=options["move_from"],
                new_ids=options["new_ids"],
            )
        except (PublishError, ImproperlyConfigured) as error:
            if options["list"]:
                self._table({})
            raise CommandError(str(error)) from error
        if options["list"]:
            self._table({step.name: step for step in plan.steps})
            self._say(plan)
            return
        self._sync(plan, options)

    def _sync(self, plan: Any, options: Mapping[str, Any]) -> None:
        from django_qstash.schedules import reconcile

        for step in plan.steps:
            self.stdout.write(str(step))
        if not plan.steps:
            self.stdout.write("Nothing to do.")
        self._say(plan)
        wrong: list[str] = []
        if plan.steps and not options["dry_run"]:
            if options["interactive"]:
                self._confirm(len(plan.steps))
            done, wrong = reconcile.apply(plan.steps)
            self.stdout.write(f"{done} of {len(plan.steps)} done.")
            for problem in wrong:
                self.stderr.write(problem)
        failed = len(wrong) + len(plan.problems)
        if failed:
            noun = "schedule" if failed == 1 else "schedules"
            raise CommandError(f"{failed} {noun} could not be brought together; see above.")

    def _confirm(self, count: int) -> None:
        try:
            answer = input(f"Do {'this' if count == 1 else f'these {count} things'}? [y/N] ")
        except EOFError:
            raise CommandError("There is nobody to ask: use --no-input.") from None
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.")

    def _say(self, plan: Any) -> None:
        for note in plan.notes:
            self.stdout.write(note)
        for problem in plan.problems:
            self.stderr.write(problem)
        if plan.foreign:
            said = "1 schedule of this account fires elsewhere, and was left alone."
            if plan.foreign > 1:
                said = (
                    f"{plan.foreign} schedules of this account fire elsewhere, and were left alone."
                )
            self.stdout.write(said)

    def _table(self, steps: Mapping[str, Any]) -> None:
        from django_qstash.schedules.models import TaskSchedule

        rows = [("NAME", "TASK", "WHEN", "NEXT RUN", "STATE", "DRIFT")]
        for row in TaskSchedule.objects.using(router.db_for_read(TaskSchedule)):
            step = steps.get(row.name)
            drift = "" if step is None else step.why or f"to {step.verb}"
            rows.append((row.name, row.task_name, row.words, _next(row), _state(row), drift))
        known = {row[0] for row in rows}
        for name, step in steps.items():
            if name not in known:
                rows.append((name, "", "", "", "not here", step.why))
        widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            self.stdout.write("  ".join([*cells, row[-1]]).rstrip())


def _next(row: Any) -> str:
    moment = row.next_fire_at
    if moment is None:
        return "-"
    return str(timezone.localtime(moment).strftime("%a %d %b %Y %H:%M"))


def _state(row: Any) -> str:
    try:
        tasks.find(row.task_name)
    except NotRegistered:
        return "task is gone"
    if row.sync_error:
        return "error"
    if row.synced_at is None:
        return "not sent"
    return "active" if row.is_active else "paused"
