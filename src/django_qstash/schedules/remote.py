"""QStash's own list of schedules: asked, read, compared with what we want, and changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from django_qstash import durations, serialization
from django_qstash.exceptions import CronError, MessageError, PublishError
from django_qstash.messages import LegacyMessage, decode, kind_of, legacy
from django_qstash.schedules.letter import ScheduleLetter
from django_qstash.transport import get_transport
from django_qstash.transport.address import webhook_url
from django_qstash.wire import options as wire
from django_qstash.wire.cron import Cron

if TYPE_CHECKING:
    from django_qstash.wire.envelope import Envelope

_REDACTED = "REDACTED:"
#: What QStash shows as numbers of seconds.
_DURATIONS = ("delay", "timeout")


@dataclass(frozen=True, slots=True)
class Remote:
    """A schedule as QStash shows it."""

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data.get("scheduleId", ""))

    @property
    def destination(self) -> str:
        return str(self.data.get("destination", ""))

    @property
    def is_ours(self) -> bool:
        """True if it fires at this site's own webhook. Raises :class:`ImproperlyConfigured`."""
        return self.destination.partition("?")[0] == webhook_url()

    @property
    def paused(self) -> bool:
        return bool(self.data.get("isPaused"))

    @property
    def cron(self) -> str:
        return str(self.data.get("cron", ""))

    @property
    def body(self) -> bytes:
        encoded = self.data.get("bodyBase64")
        if encoded:
            try:
                return base64.b64decode(str(encoded), validate=True)
            except (binascii.Error, ValueError):
                return b""
        return str(self.data.get("body") or "").encode("utf-8", "surrogatepass")

    def letter(self) -> ScheduleLetter | LegacyMessage:
        """What it carries, ours or of django-qstash 0.x. Raises :class:`MessageError`."""
        if self.body.startswith(_REDACTED.encode()):
            raise MessageError("Its body is redacted, so QStash does not show it.")
        letter = decode(self.body)
        kind = kind_of(letter)
        if kind == LegacyMessage.kind:
            return legacy(letter)
        if kind != ScheduleLetter.kind:
            raise MessageError(f"Its body is a {kind!r} letter, not a schedule's.")
        return ScheduleLetter.from_dict(letter)

    def differences(self, wanted: Envelope) -> list[str]:
        """In what it is not what it should be, each as a person would say it."""
        found = list(self._differences(wanted))
        if not found and not self._has_body(wanted.body):
            found.append("its arguments or options differ")
        return found

    def _differences(self, wanted: Envelope) -> Iterator[str]:
        if self.destination != wanted.url:
            yield f"it fires at {self.destination}, not at {wanted.url}"
        for option in wire.OPTIONS:
            name = option.name
            if option.schedule is None or name == "schedule_id":
                continue
            theirs, ours = self.data.get(option.schedule), wanted.options.get(name)
            # What QStash does not show may be as it should be.
            if theirs in (None, "") or (ours is None and name in ("method", "timeout")):
                continue
            if not _same(name, theirs, ours):
                yield f"{option.schedule} is {theirs}, not {'unset' if ours is None else ours}"

    def _has_body(self, wanted: bytes) -> bool:
        body = self.body
        if body.startswith(_REDACTED.encode()):
            # Redacted text is shown by its hash; one of another make is left alone.
            shown = body.decode("ascii", "replace").removeprefix(_REDACTED)
            return shown == hashlib.sha256(wanted).hexdigest()
        try:
            return bool(serialization.loads(body) == serialization.loads(wanted))
        except ValueError:
            return False


def listed() -> list[Remote]:
    """Every schedule of the account, other sites' too. Raises :class:`PublishError`."""
    answer = get_transport().request("GET", "/v2/schedules")
    if not isinstance(answer, list):
        raise PublishError("QStash answered the question for its schedules with no list.")
    return [Remote(data) for data in answer if isinstance(data, Mapping)]


def get(schedule_id: str) -> Remote | None:
    """One of them; ``None`` if there is none. Raises :class:`PublishError`."""
    try:
        answer = get_transport().request("GET", _path(schedule_id))
    except PublishError as error:
        if error.status == 404:
            return None
        raise
    return Remote(answer) if isinstance(answer, Mapping) else None


def put(envelope: Envelope) -> None:
    """Make or replace one. Raises :class:`PublishError`."""
    get_transport().schedule(envelope)


def pause(schedule_id: str) -> None:
    get_transport().request("PATCH", f"{_path(schedule_id)}/pause")


def resume(schedule_id: str) -> None:
    get_transport().request("PATCH", f"{_path(schedule_id)}/resume")


def delete(schedule_id: str) -> None:
    """Have QStash forget one, if it knows it. Raises :class:`PublishError`."""
    try:
        get_transport().request("DELETE", _path(schedule_id))
    except PublishError as error:
        if error.status != 404:
            raise


def _path(schedule_id: str) -> str:
    return f"/v2/schedules/{quote(schedule_id, safe='')}"


def _same(name: str, theirs: Any, ours: Any) -> bool:
    if name == "cron":
        try:
            return Cron.parse(str(theirs)) == Cron.parse(str(ours))
        except CronError:
            return False
    if name in _DURATIONS:
        try:
            return durations.whole_seconds(theirs) == durations.whole_seconds(ours or 0)
        except ValueError:
            return False
    return str(theirs) == ("" if ours is None else str(ours))
