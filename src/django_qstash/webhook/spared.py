"""What Django does to the views of people, and must not do to those that QStash calls."""

from __future__ import annotations

from typing import Any


class EveryDatabase(frozenset[str]):
    """Holds the alias of every database there is, or will be."""

    def __contains__(self, alias: object) -> bool:
        return True


def open_to_qstash(view: Any) -> Any:
    """Spare a view what Django does to those of people."""
    # transaction.non_atomic_requests() spares one alias only; the protocol's transactions must be
    # its own on each. The claim has to be committed before the body runs.
    view._non_atomic_requests = EveryDatabase()  # noqa: SLF001 - the attribute that Django asks
    # LoginRequiredMiddleware (Django 5.1) would send QStash to the login page.
    view.login_required = False
    # As csrf_exempt() does, whose module brings all of Django's models along.
    view.csrf_exempt = True
    return view
