"""Schedules where there is no QStash: kept, listed, paused, deleted, and never fired by a clock."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django_qstash.exceptions import PublishError
from django_qstash.wire import options as wire

if TYPE_CHECKING:
    from typing_extensions import Self

    from django_qstash.wire.envelope import Envelope

#: Options of a schedule that its messages do not have.
_OF_SCHEDULES = ("cron", "schedule_id", "schedule_queue")


@dataclass(slots=True)
class Kept:
    """One schedule, as it was made."""

    id: str
    envelope: Envelope
    paused: bool = False

    def message(self) -> Envelope:
        """What a fire delivers."""
        options = {
            name: value
            for name, value in self.envelope.options.items()
            if name not in _OF_SCHEDULES
        }
        headers = {**options.get("headers", {}), wire.header_of("schedule_id"): self.id}
        return replace(self.envelope, options={**options, "headers": headers})

    def described(self) -> dict[str, Any]:
        """The schedule as QStash's API shows it."""
        options = self.envelope.options
        shown = {
            option.schedule: options[option.name]
            for option in wire.OPTIONS
            if option.schedule is not None and option.name in options
        }
        for name in ("delay", "timeout"):
            if name in shown:
                shown[name] = int(shown[name].removesuffix("s"))
        return {
            **shown,
            "scheduleId": self.id,
            "destination": self.envelope.url,
            "isPaused": self.paused,
            "bodyBase64": base64.b64encode(self.envelope.body).decode("ascii"),
        }


class KeptSchedules:
    """The part of a transport that speaks of schedules. ``schedules`` has them by id."""

    def __init__(self) -> None:
        self.schedules: dict[str, Kept] = {}

    def for_account(self, name: str) -> Self:  # noqa: ARG002 - all are kept in one place
        """This one: each envelope says whose it is."""
        return self

    def schedule(self, envelope: Envelope) -> str:
        schedule_id = str(envelope.options["schedule_id"])
        old = self.schedules.get(schedule_id)
        # As at QStash: what was paused stays paused.
        self.schedules[schedule_id] = Kept(schedule_id, envelope, old.paused if old else False)
        return schedule_id

    def request(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ARG002
        """QStash's calls about schedules; there is nobody here to answer any other."""
        name, *rest = path.removeprefix("/v2/").split("/")
        if name != "schedules":
            raise PublishError(
                f"{type(self).__name__} has no QStash behind it for {method} {path}."
            )
        if not rest:
            return [kept.described() for kept in self.schedules.values()]
        kept = self.schedules.get(unquote(rest[0]))
        if method == "DELETE":
            self.schedules.pop(unquote(rest[0]), None)
            return None
        if kept is None:
            error = PublishError(f"There is no schedule {rest[0]}.")
            error.status = 404
            raise error
        if method == "GET":
            return kept.described()
        kept.paused = rest[1:] == ["pause"]
        return None
