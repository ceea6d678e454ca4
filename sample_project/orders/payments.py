"""Stands for the payment service: it knows two cards, and declines one of them."""

from decimal import Decimal
from secrets import token_hex

from orders.models import Card


class CardDeclined(Exception):
    pass


def charge(card: str, amount: Decimal) -> str:
    """The payment's reference. Raises :class:`CardDeclined`."""
    if card == Card.DECLINED:
        raise CardDeclined(f"The bank declined {amount} EUR: insufficient funds.")
    return f"pay_{token_hex(6)}"
