"""What messages cost: an estimate, by a price that the settings give."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured


def message_price() -> Decimal:
    """US dollars for one message. Raises :class:`ImproperlyConfigured`."""
    text = settings.DJANGO_QSTASH_MESSAGE_PRICE
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0:
        raise ImproperlyConfigured(
            f"DJANGO_QSTASH_MESSAGE_PRICE={text!r} must be a decimal number such as '0.00001'."
        )
    return price


def of(messages: int) -> Decimal:
    """What so many messages cost, in US dollars."""
    return messages * message_price()


def shown(price: Decimal) -> str:
    """A price for people: ``$0.00003``, with no digit that says nothing."""
    whole, _, rest = f"{price:f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"
