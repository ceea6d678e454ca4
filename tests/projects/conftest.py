"""The projects have databases of their own: once is enough."""

from __future__ import annotations

import os

collect_ignore_glob = ["test_*.py"] if os.environ.get("DATABASE_URL") else []
