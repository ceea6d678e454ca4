"""What steps, signals and events may be called."""

from __future__ import annotations

from typing import Any

MAX_ID = 200
#: A name of a signal, or a key of an event.
MAX_NAME = 200


def check_name(name: Any, what: str) -> str:
    """A signal's name, or an event's key. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a text, not {name!r}.")
    if not name or len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(f"{what} has 1 to {MAX_NAME} printable characters, not {name!r}.")
    return name


def check_id(step_id: Any) -> str:
    """A step's id. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(step_id, str):
        raise TypeError(
            f"A step's first argument is its id, a text such as 'pay'; not {step_id!r}."
        )
    if not step_id or len(step_id) > MAX_ID or not step_id.isprintable():
        raise ValueError(f"A step's id has 1 to {MAX_ID} printable characters, not {step_id!r}.")
    if step_id != step_id.strip():
        raise ValueError(f"The step id {step_id!r} has spaces at its ends.")
    return step_id
