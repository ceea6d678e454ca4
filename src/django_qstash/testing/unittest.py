"""The sandbox for test classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django_qstash.testing.sandbox import QStashSandbox


class QStashMixin:
    """Opens a sandbox around each test of a ``TestCase``, as ``self.qstash``.

    ::

        class OrderTests(QStashMixin, TestCase): ...
    """

    #: Keywords of :class:`QStashSandbox`.
    qstash_options: ClassVar[Mapping[str, Any]] = {}

    qstash: QStashSandbox

    def setUp(self) -> None:
        self.qstash = QStashSandbox(**self.qstash_options)
        self.qstash.start()
        self.addCleanup(self.qstash.stop)  # type: ignore[attr-defined]
        super().setUp()  # type: ignore[misc]
