"""Look into QStash's dead letter queue, and have failed tasks run again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_qstash.exceptions import ImproperlyConfigured, MessageError, PublishError
from django_qstash.messages import TaskMessage, decode, kind_of
from django_qstash.tasks.store import get_store
from django_qstash.transport import get_transport
from django_qstash.transport.accounts import DEFAULT
from django_qstash.transport.address import webhook_url

#: Option, and the name of QStash's filter.
FILTERS = {
    "message_id": "messageId",
    "url": "url",
    "queue": "queueName",
    "schedule_id": "scheduleId",
    "response_status": "responseStatus",
    "label": "label",
    "flow_control_key": "flowControlKey",
    "from_date": "fromDate",
    "to_date": "toDate",
}
PAGE = 100


class Command(BaseCommand):
    help = "List, show, retry or delete what QStash could not deliver."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--account",
            default="",
            help="The account of DJANGO_QSTASH_ACCOUNTS to ask, rather than the default one.",
        )
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listing = actions.add_parser("list", help="List entries, the newest first.")
        _add_filters(listing)
        listing.add_argument("--limit", type=int, default=50, help="Entries at most (%(default)s).")
        listing.add_argument("--json", action="store_true", help="Print QStash's own JSON.")
        shown = actions.add_parser("get", help="Show one entry, its letter and its last answer.")
        shown.add_argument("dlq_id")
        for name, verb in (
            ("retry", "Have tasks run again: their recorded failure is reopened first."),
            ("delete", "Delete entries; nothing else is changed."),
        ):
            action = actions.add_parser(name, help=verb)
            action.add_argument("dlq_ids", nargs="*", metavar="dlq_id")
            _add_filters(action)
            action.add_argument("--all", action="store_true", help="All that the filters leave.")
            action.add_argument("--no-input", "--noinput", action="store_false", dest="interactive")

    def handle(self, *args: Any, action: str, account: str, **options: Any) -> None:  # noqa: ARG002
        try:
            self.transport = get_transport("" if account == DEFAULT else account)
            getattr(self, f"do_{action}")(options)
        except (PublishError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error

    def do_list(self, options: Mapping[str, Any]) -> None:
        entries = list(self._entries(_filters(options), options["limit"]))
        if options["json"]:
            self.stdout.write(json.dumps(entries, indent=2))
            return
        if not entries:
            self.stdout.write("Nothing is in the dead letter queue.")
        for entry in entries:
            task = _task_of(entry)
            what = f"{task.task}[{task.id}]" if task else entry["url"]
            status = entry.get("responseStatus") or "no answer"
            self.stdout.write(f"{entry['dlqId']}  {status}  {what}")

    def do_get(self, options: Mapping[str, Any]) -> None:
        entry = self._entry(options["dlq_id"])
        self.stdout.write(json.dumps(entry, indent=2))

    def do_retry(self, options: Mapping[str, Any]) -> None:
        entries = self._chosen(options, "Retry")
        ours = webhook_url()
        failed = 0
        for entry in entries:
            if entry["url"].partition("?")[0] != ours:
                self.stdout.write(f"{entry['dlqId']}: not ours ({entry['url']}), left alone")
                continue
            message = _task_of(entry)
            # First the record, or the delivery would find the task failed, and not run it.
            if message is not None and not get_store().reopen(message):
                self.stdout.write(
                    f"{entry['dlqId']}: {message.task}[{message.id}] is not recorded as failed "
                    "by this message; it would not run. Left alone."
                )
                continue
            try:
                self.transport.request("POST", f"/v2/dlq/retry/{entry['dlqId']}")
            except PublishError as error:
                failed += 1
                self.stderr.write(f"{entry['dlqId']}: {error}")
            else:
                self.stdout.write(f"{entry['dlqId']}: sent again")
        if failed:
            raise CommandError(f"{failed} of {len(entries)} could not be sent; run it again.")

    def do_delete(self, options: Mapping[str, Any]) -> None:
        entries = self._chosen(options, "Delete")
        for entry in entries:
            self.transport.request("DELETE", f"/v2/dlq/{entry['dlqId']}")
        self.stdout.write(f"{len(entries)} deleted.")

    def _chosen(self, options: Mapping[str, Any], verb: str) -> list[Any]:
        ids, filters = options["dlq_ids"], _filters(options)
        if not ids and not filters and not options["all"]:
            raise CommandError("Name entries by their id, give a filter, or --all.")
        entries = [self._entry(dlq_id) for dlq_id in ids] if ids else list(self._entries(filters))
        if entries and options["interactive"] and not ids:
            try:
                answer = input(f"{verb} {len(entries)} entries? [y/N] ")
            except EOFError:
                raise CommandError("There is nobody to ask: use --no-input.") from None
            if answer.strip().lower() not in ("y", "yes"):
                raise CommandError("Nothing was done.")
        return entries

    def _entry(self, dlq_id: str) -> Any:
        try:
            return self.transport.request("GET", f"/v2/dlq/{dlq_id}")
        except PublishError as error:
            if error.status == 404:
                raise CommandError(f"There is no entry {dlq_id}.") from error
            raise

    def _entries(self, filters: Mapping[str, str], limit: int | None = None) -> Iterator[Any]:
        """Entries page by page, the newest first."""
        cursor, count = None, 0
        while True:
            query = {**filters, "count": str(PAGE), "order": "latestFirst"}
            if cursor:
                query["cursor"] = cursor
            page = self.transport.request("GET", f"/v2/dlq?{urlencode(query)}")
            for entry in page.get("messages", ()):
                if limit is not None and count >= limit:
                    return
                count += 1
                yield entry
            cursor = page.get("cursor")
            if not cursor:
                return


def _add_filters(parser: Any) -> None:
    for option in FILTERS:
        parser.add_argument(f"--{option.replace('_', '-')}")


def _filters(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: options[option] for option, name in FILTERS.items() if options.get(option)}


def _task_of(entry: Mapping[str, Any]) -> TaskMessage | None:
    """The letter in an entry; ``None`` if it is not a task's."""
    encoded = entry.get("bodyBase64")
    body = base64.b64decode(encoded) if encoded else str(entry.get("body", "")).encode()
    try:
        letter = decode(body)
        return TaskMessage.from_dict(letter) if kind_of(letter) == TaskMessage.kind else None
    except MessageError:
        return None
