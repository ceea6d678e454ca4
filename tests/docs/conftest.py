"""The pages are followed in projects of their own, on SQLite: once is enough."""

from __future__ import annotations

import os

collect_ignore_glob = ["test_*.py"] if os.environ.get("DATABASE_URL") else []
