"""``cron=`` on a task: when it runs by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django_qstash.exceptions import CronError, OptionError
from django_qstash.wire.cron import Cron

#: What a run does that is due while the one before it is still at work.
ALLOW, SKIP, QUEUE = "allow", "skip", "queue"
OVERLAPS = (ALLOW, SKIP, QUEUE)


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """One time at which a task or a workflow runs by itself: ``@shared_task(cron=[…])``.

    ``timezone`` is where the expression holds, by default UTC. ``input`` is what it gets: a mapping
    is keyword arguments of a task, a list its arguments, anything else its only argument; a
    workflow gets it as its input. ``id`` tells several triggers of one task apart; without one,
    their place in the list does. ``overlap``, one of ``"allow"``, ``"skip"`` and ``"queue"``, says
    what happens when it is due while its last run is at work; by default the admin does. Raises
    :class:`CronError`, and :class:`OptionError` for another overlap.
    """

    expression: str
    timezone: str | None = None
    input: Any = None
    id: str | None = None
    overlap: str | None = None

    def __post_init__(self) -> None:
        check_overlap(self.overlap)
        Cron.parse(self.expression, self.timezone or "")

    def arguments(
        self, *, single: bool = False, named: bool = False
    ) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments.

        ``single``: the input is one value, as a workflow's; ``named``: the body takes it by name.
        """
        if self.input is None:
            return [], {}
        if isinstance(self.input, Mapping) and (named or not single):
            return [], dict(self.input)
        if not single and isinstance(self.input, (list, tuple)):
            return list(self.input), {}
        return [self.input], {}


def check_overlap(overlap: Any) -> str | None:
    """The overlap, if it is one or none is named. Raises :class:`OptionError`."""
    if overlap is not None and overlap not in OVERLAPS:
        raise OptionError(f"overlap={overlap!r}: it is one of {', '.join(OVERLAPS)}.")
    return overlap  # type: ignore[no-any-return]


def triggers(
    cron: Any, timezone: str | None = None, overlap: str | None = None
) -> list[CronTrigger]:
    """What the option ``cron`` says: an expression, a :class:`CronTrigger`, or a list of these.

    ``timezone`` and ``overlap`` are for those that name none. Raises :class:`CronError` for an
    expression that QStash would refuse, :class:`OptionError` for what is none, and for an id that
    is there twice.
    """
    if cron is None:
        return []
    found: list[CronTrigger] = []
    for each in cron if isinstance(cron, (list, tuple)) else [cron]:
        if isinstance(each, str):
            zone = None if "TZ=" in each else timezone
            found.append(CronTrigger(each, zone, overlap=overlap))
        elif isinstance(each, CronTrigger):
            zone = each.timezone or (None if "TZ=" in each.expression else timezone)
            found.append(replace(each, timezone=zone, overlap=each.overlap or overlap))
        else:
            raise OptionError(
                f"cron={each!r}: write an expression such as '0 9 * * mon-fri', a CronTrigger, or "
                "a list of these. A crontab belongs into beat_schedule."
            )
    # One that has no id goes by its place in the list.
    ids = [each.id or str(index) for index, each in enumerate(found)]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise OptionError(f"Two CronTriggers have one id, {twice[0]!r}; give each another.")
    return found


def check(name: str, options: Mapping[str, Any]) -> None:
    """Raise what :func:`triggers` does, naming the task, and for options of a cron with none."""
    cron, timezone, overlap = map(options.get, ("cron", "timezone", "overlap"))
    for option, value in (("timezone", timezone), ("overlap", overlap)):
        if cron is None and value is not None:
            raise OptionError(f"{name}: {option}={value!r} without cron= has nothing to hold for.")
    try:
        check_overlap(overlap)
        triggers(cron, timezone, overlap)
    except CronError as error:
        reason = f"cron of {name}: {error.reason}"
        raise CronError(reason, error.text, error.position) from None
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None
