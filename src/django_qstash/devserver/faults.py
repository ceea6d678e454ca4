"""Fault knobs: what QStash may do on a bad day, on purpose and repeatably.

Delivery is at least once, in no certain order, and may be late; publishing may be refused. These
knobs make that happen often, so that users can see that *their* tasks are idempotent.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from django_qstash import durations
from django_qstash.devserver.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How a publish may be refused.
BURST, QUOTA, BROKEN, RESET = "burst", "quota", "500", "reset"
REFUSALS = (BURST, QUOTA, BROKEN, RESET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The chances, from 0 to 1, and their sizes in seconds."""

    #: A delivery is made twice, at the same time or shortly after each other.
    duplicate: float = 0.0
    #: A message is held back for up to ``reorder_by``, so that later ones overtake it. Messages of
    #: a queue keep their order all the same.
    reorder: float = 0.0
    reorder_by: float = 1.0
    #: An attempt starts ``delay_by`` later than it is due.
    delay: float = 0.0
    delay_by: float = 1.0
    #: The destination's good answer gets lost: delivered, but counted as failed.
    drop_ack: float = 0.0
    #: A publish is refused, in the way that ``refuse_with`` says.
    refuse: float = 0.0
    refuse_with: str = BURST
    seed: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Knobs:
        """From JSON or keywords. Raises ``ValueError`` that names what is wrong."""
        known = {field.name for field in fields(cls)}
        clean: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name!r} is not a fault; known are {', '.join(sorted(known))}")
            clean[name] = _check(name, value)
        return cls(**clean)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _check(name: str, value: Any) -> Any:
    if name == "refuse_with":
        if value not in REFUSALS:
            raise ValueError(f"refuse_with must be one of {', '.join(REFUSALS)}, not {value!r}")
        return value
    if name == "seed":
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"seed must be a whole number, not {value!r}")
        return value
    if name.endswith("_by"):
        return durations.seconds(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a chance between 0 and 1, not {value!r}")
    return float(value)


class Faults:
    """The knobs in force, and the dice."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self.turn(knobs or Knobs())

    def turn(self, knobs: Knobs) -> None:
        """Put these knobs in force and start the dice anew."""
        self.knobs = knobs
        self._dice = random.Random(knobs.seed)  # noqa: S311 - repeatable on purpose

    def _falls(self, chance: float) -> bool:
        return chance > 0 and self._dice.random() < chance

    def hold(self) -> float:
        """Seconds by which this attempt starts late; 0 in most cases."""
        held = 0.0
        if self._falls(self.knobs.delay):
            held += self.knobs.delay_by
        if self._falls(self.knobs.reorder):
            held += self.knobs.reorder_by * self._dice.random()
        return held

    def echo(self) -> float | None:
        """Seconds until a second delivery of the same attempt; ``None`` for none."""
        if not self._falls(self.knobs.duplicate):
            return None
        return 0.0 if self._dice.random() < 0.5 else self._dice.random()

    def loses_answer(self) -> bool:
        return self._falls(self.knobs.drop_ack)

    def refusal(self, now: float) -> Refusal | None:
        """How this publish is refused, if it is. Status 0 stands for a closed connection."""
        if not self._falls(self.knobs.refuse):
            return None
        kind = self.knobs.refuse_with
        if kind == RESET:
            return Refusal(0, "fault: connection reset")
        if kind == BROKEN:
            return Refusal(500, "fault: internal server error")
        prefix = "RateLimit" if kind == QUOTA else "Burst-RateLimit"
        reset = int(now) + (3600 if kind == QUOTA else 1)
        return Refusal(
            429,
            f"fault: {'daily message' if kind == QUOTA else 'request'} limit exceeded",
            headers={
                f"{prefix}-Limit": "100",
                f"{prefix}-Remaining": "0",
                f"{prefix}-Reset": str(reset),
            },
        )
