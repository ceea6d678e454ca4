"""How a letter leaves: the real way over HTTP, and its peers for tests."""

from __future__ import annotations

from django_qstash.transport.base import Transport, get_transport

__all__ = ["Transport", "get_transport"]
