"""Versions of a body's code: who comes to a change first decides for all later replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import NonDeterminismError
from django_qstash.workflows.names import check_id

if TYPE_CHECKING:
    from django_qstash.workflows.context import Context


def get_version(context: Context, change_id: str, minimum: int, maximum: int) -> Any:
    """See :meth:`Context.get_version`."""
    for number in (minimum, maximum):
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"get_version({change_id!r}) takes whole numbers, not {number!r}.")
    if minimum > maximum:
        raise ValueError(f"get_version({change_id!r}): {minimum} is more than {maximum}.")
    history = context.history

    def choose() -> int:
        # Steps are still ahead: the run was here before the code had this change.
        return minimum if history.is_replaying else maximum

    def checked(version: int) -> int:
        if minimum <= version <= maximum:
            return version
        raise NonDeterminismError(
            f"Run {context.run_id} goes by version {version} of {change_id!r}, and the code knows "
            f"{minimum} to {maximum} only.",
            step=f"version:{change_id}",
            recorded=f"version {version}",
            asked=f"version {minimum} to {maximum}",
        )

    return context.mark(check_id(change_id), choose, checked)


def patched(context: Context, change_id: str) -> Any:
    """See :meth:`Context.patched`."""
    history = context.history
    return context.mark(check_id(change_id), lambda: int(not history.is_replaying), bool)


def deprecate_patch(context: Context, change_id: str) -> Any:
    """See :meth:`Context.deprecate_patch`."""
    return context.mark(check_id(change_id), lambda: 1, lambda _: None)
