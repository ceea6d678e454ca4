"""When something goes wrong: by lot, and the same for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


class Lot:
    """At most ``faults`` of them, about ``calm`` moments after each other."""

    def __init__(self, chance: random.Random, faults: int, calm: int) -> None:
        self.chance = chance
        self.faults = faults
        self.calm = calm
        #: How many there were.
        self.struck = 0
        self._rest()

    def falls(self, chance: float | None = None) -> bool:
        """True if something goes wrong at this moment; with ``chance``, so likely instead."""
        if self.struck >= self.faults:
            return False
        if chance is not None:
            if self.chance.random() >= chance:
                return False
        else:
            self._left -= 1
            if self._left > 0:
                return False
            self._rest()
        self.struck += 1
        return True

    def _rest(self) -> None:
        self._left = self.chance.randint(1, 2 * self.calm)
