"""Stands for three couriers that are asked for a price, each at its own speed."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings


@dataclass(frozen=True)
class Courier:
    name: str
    base: Decimal
    per_kilo: Decimal
    #: Seconds until it answers.
    answers_after: float

    async def quote(self, grams: int) -> Decimal:
        await asyncio.sleep(self.answers_after * settings.PACE)
        return (self.base + self.per_kilo * grams / 1000).quantize(Decimal("0.01"))


COURIERS = [
    Courier("Velo", Decimal("3.90"), Decimal("1.80"), 0.9),
    Courier("Northbound", Decimal("6.20"), Decimal("0.55"), 1.4),
    Courier("City Mail", Decimal("4.50"), Decimal("1.10"), 0.5),
]
