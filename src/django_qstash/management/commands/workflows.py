"""Start workflows, and see to their runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_qstash import serialization
from django_qstash.exceptions import (
    ImproperlyConfigured,
    PublishError,
    WorkflowError,
)
from django_qstash.workflows import control, price
from django_qstash.workflows.definition import find_workflow
from django_qstash.workflows.handles import RunHandle, state_of

if TYPE_CHECKING:
    from django_qstash.workflows.forecast import Finding

APP = "django_qstash.workflows"
#: What is said of runs in one line.
USED = frozenset({"messages", "bytes_sent", "compute_seconds", "database_seconds", "price"})


class Command(BaseCommand):
    help = "Start workflows, look at their runs, and signal, cancel, replay or resume them."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        start = actions.add_parser("start", help="Start a run, and print its id.")
        start.add_argument("name", help="The workflow's name; 'workflows stats' has some.")
        start.add_argument("--input", metavar="JSON", help="What it is started with.")
        start.add_argument("--run-id", help="The run's id; one that is there is not started again.")
        start.add_argument("--idempotency-key", metavar="KEY")
        start.add_argument("--delay", help="Seconds, or a duration such as 5m.")
        start.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="Wait so long for its end, and print its result.",
        )
        signal = actions.add_parser("signal", help="Send a signal to a run.")
        signal.add_argument("run")
        signal.add_argument("name", help="The signal's name.")
        signal.add_argument("--input", metavar="JSON", help="The signal's data.")
        cancel = actions.add_parser("cancel", help="End a run, and its children with it.")
        cancel.add_argument("run")
        cancel.add_argument("--reason", default="")
        listing = actions.add_parser("list", help="List runs, the newest first.")
        listing.add_argument("--workflow", metavar="NAME")
        listing.add_argument("--status")
        listing.add_argument("--limit", type=int, default=50, help="Runs at most (%(default)s).")
        listing.add_argument("--cursor", help="Where the page before has ended, as it said.")
        listing.add_argument("--json", action="store_true")
        for name, what in (
            ("show", "Show how a run stands, and its steps."),
            ("resume", "Start a failed run again from the step that failed."),
            ("replay", "Start a failed run again from its beginning."),
        ):
            action = actions.add_parser(name, help=what)
            action.add_argument("run")
            if name == "show":
                action.add_argument("--json", action="store_true")
        stats = actions.add_parser("stats", help="Count runs by workflow and status.")
        stats.add_argument("--workflow", metavar="NAME")
        stats.add_argument("--json", action="store_true")
        check = actions.add_parser(
            "check", help="Say which runs that have not ended would break with this code."
        )
        check.add_argument("--workflow", metavar="NAME")
        check.add_argument("--limit", type=int, help="Runs at most, the newest first (all).")
        check.add_argument("--all", action="store_true", help="Name those that would go on, too.")
        check.add_argument("--json", action="store_true")
        actions.add_parser("sweep", help="Send the letters that should have come long ago.")

    def handle(self, *args: Any, action: str, **options: Any) -> None:  # noqa: ARG002
        if action != "start" and not apps.is_installed(APP):
            raise CommandError(f"There are no workflow runs: {APP!r} is not in INSTALLED_APPS.")
        try:
            getattr(self, f"do_{action}")(options)
        except (
            WorkflowError,
            PublishError,
            ImproperlyConfigured,
            TypeError,
            ValueError,
        ) as error:
            raise CommandError(str(error)) from error

    # --- acting ---------------------------------------------------------------------------------

    def do_start(self, options: Mapping[str, Any]) -> None:
        run = find_workflow(options["name"]).trigger(
            _json(options["input"]),
            run_id=options["run_id"],
            idempotency_key=options["idempotency_key"],
            delay=options["delay"],
        )
        self.stdout.write(str(run))
        if options["wait"] is not None:
            self.stdout.write(_text(run.result(options["wait"])))

    def do_signal(self, options: Mapping[str, Any]) -> None:
        control.send_signal(options["run"], options["name"], _json(options["input"]))
        self.stdout.write(f"Sent the signal {options['name']!r} to {options['run']}.")

    def do_cancel(self, options: Mapping[str, Any]) -> None:
        if not control.cancel_workflow(options["run"], options["reason"]):
            raise CommandError(f"The run {options['run']!r} has ended already.")
        self.stdout.write(f"Canceled {options['run']}.")

    def do_resume(self, options: Mapping[str, Any]) -> None:
        self.stdout.write(str(control.get_dead_letter(options["run"]).resume()))

    def do_replay(self, options: Mapping[str, Any]) -> None:
        self.stdout.write(str(control.get_dead_letter(options["run"]).replay()))

    def do_sweep(self, options: Mapping[str, Any]) -> None:  # noqa: ARG002
        from django_qstash.workflows.sweep import sweep

        sent = sweep()
        self.stdout.write(f"{sent} letter{'' if sent == 1 else 's'} sent again.")

    # --- looking --------------------------------------------------------------------------------

    def do_list(self, options: Mapping[str, Any]) -> None:
        page = control.list_runs(
            options["workflow"],
            status=options["status"],
            limit=options["limit"],
            cursor=options["cursor"],
        )
        if options["json"]:
            runs = [state_of(run) for run in page]
            self.stdout.write(_text({"runs": runs, "cursor": page.cursor}))
            return
        if not page.runs:
            self.stdout.write("No runs.")
        for run in page:
            about = run.waits or run.error_message.partition("\n")[0]
            when = run.created_at.isoformat(sep=" ", timespec="seconds")
            line = f"{run.run_id}  {run.status:<9}  {when}  {run.workflow_id}  {about}"
            self.stdout.write(line.rstrip())
        if page.cursor:
            self.stdout.write(f"More: --cursor {page.cursor}")

    def do_show(self, options: Mapping[str, Any]) -> None:
        run = RunHandle(options["run"])
        state, steps = run.state(), [_step(step) for step in run.steps()]
        if options["json"]:
            self.stdout.write(_text({**state, "steps": steps}))
            return
        used = _used(state)
        for name, value in {**state, "used": used}.items():
            if value is not None and name not in USED:
                shown = value if isinstance(value, str) else _text(value)
                self.stdout.write(f"{name:<13} {shown}")
        for step in steps:
            name = f"{step['id']}#{step['occurrence']}" if step["occurrence"] else step["id"]
            tried = f", {step['attempts']} attempts" if step["attempts"] > 1 else ""
            self.stdout.write(f"  {step['status']:<9} {name} ({step['kind']}{tried})")
            if step["error"]:
                self.stdout.write(f"            {step['error']}")

    def do_check(self, options: Mapping[str, Any]) -> None:
        from django_qstash.workflows.forecast import forecast_all

        limit = options["limit"]
        if limit is not None and limit < 1:
            raise CommandError(f"--limit {limit} must be at least 1.")
        findings = []
        # What a body prints is none of this command's output.
        with redirect_stdout(sys.stderr):
            for finding in forecast_all(options["workflow"], limit):
                findings.append(finding)
                if not options["json"]:
                    self._tell(finding, everything=options["all"])
        broken = sum(finding.breaks for finding in findings)
        warned = sum(bool(finding.warnings) for finding in findings)
        if options["json"]:
            summary = {"checked": len(findings), "would_break": broken, "with_warnings": warned}
            told = [finding.as_data() for finding in findings]
            self.stdout.write(_text({"runs": told, "summary": summary}))
        else:
            self.stdout.write(
                f"{_runs(len(findings))} checked: {broken} would break, "
                f"{len(findings) - broken} would go on. {warned} with warnings."
            )
        if broken:
            raise CommandError(f"{_runs(broken)} would break.")

    def _tell(self, finding: Finding, *, everything: bool) -> None:
        name = f"{finding.run_id}  {finding.workflow}"
        if finding.breaks:
            self.stdout.write(f"{name}  would break: {finding.error}")
            if finding.recorded:
                at = f"at {finding.step!r}: recorded is" if finding.step else "recorded is"
                self.stdout.write(f"    {at} {finding.recorded}, asked for {finding.asked}")
        elif everything or finding.warnings:
            where = f"would go on at {finding.step!r}, {finding.asked}"
            ahead = f"; {finding.ahead} recorded not looked at" if finding.ahead else ""
            self.stdout.write(f"{name}  {where if finding.step else 'would end'}{ahead}")
        for warning in finding.warnings:
            self.stdout.write(f"    warning: {warning}")

    def do_stats(self, options: Mapping[str, Any]) -> None:
        stats = control.get_stats(options["workflow"])
        if options["json"]:
            self.stdout.write(_text(stats))
            return
        if not stats:
            self.stdout.write("No runs.")
        for name, counts in sorted(stats.items()):
            statuses = {each: count for each, count in counts.items() if each not in USED}
            said = ", ".join(f"{count} {status}" for status, count in statuses.items() if count)
            self.stdout.write(f"{name}: {said}\n    {_used(counts)}")


def _used(used: Mapping[str, Any]) -> str:
    """What runs have used, in a line."""
    count, size = used["messages"], used["bytes_sent"]
    said = f"{count} message{'' if count == 1 else 's'} of {size} bytes in all"
    said += f", about {price.shown(used['price'])}"
    said += f"; {used['compute_seconds']:.3f} s of compute time"
    if used["database_seconds"]:
        said += f", {used['database_seconds']:.3f} s of it in the database"
    return said


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _step(step: Any) -> dict[str, Any]:
    return {
        "id": step.step_id,
        "occurrence": step.occurrence,
        "kind": step.kind,
        "status": step.status,
        "attempts": step.attempts,
        "result": step.result,
        "error": step.error_message or None,
        "started_at": step.started_at,
        "executed_at": step.executed_at,
        "wake_at": step.wake_at,
        "child": step.child_id or None,
    }


def _json(text: str | None) -> Any:
    """What ``--input`` says. Raises :class:`CommandError`."""
    if text is None:
        return None
    try:
        return serialization.loads(text)
    except ValueError as error:
        raise CommandError(
            f"--input is not JSON: {error}. A text needs quotes of its own: --input '\"text\"'."
        ) from None


def _text(value: Any) -> str:
    """A value as JSON for people and for other programs; a time in ISO 8601."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return json.loads(serialization.dumps(value))
