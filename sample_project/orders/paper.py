"""Stands for the paper mill: it is busy when it is asked the first two times."""

from secrets import randbelow

BUSY_TIMES = 2


class MillBusy(Exception):
    pass


def order(sheets: int, *, asked: int) -> str:
    """The mill's number for the order. Raises :class:`MillBusy`.

    ``asked`` is how often it was asked before.
    """
    if asked < BUSY_TIMES:
        raise MillBusy(f"The mill has no time for {sheets} sheets just now.")
    return f"M-{1000 + randbelow(9000)}"
