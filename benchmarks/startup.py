"""Import and start-up over bare Django, in fresh processes: their CPU, which others do not slow."""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 15

CODE = """
import time, sys
began = time.process_time()
import django
from django.conf import settings
settings.configure(INSTALLED_APPS={apps!r}, SECRET_KEY="x",
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}})
django.setup()
{extra}
print(time.process_time() - began)
for name in ("httpx", "qstash", "aiohttp"):
    assert name not in sys.modules, name
"""

BARE = ["django.contrib.auth", "django.contrib.contenttypes"]


def run(apps: list[str], extra: str = "") -> float:
    code = CODE.format(apps=apps, extra=extra)
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return float(answer.stdout) * 1000


def main() -> None:
    ours = [*BARE, "django_qstash", "django_qstash.results"]
    run(BARE), run(ours)
    pairs = [(run(BARE), run(ours)) for _ in range(ROUNDS)]
    bare = statistics.median(a for a, _ in pairs)
    over = statistics.median(b - a for a, b in pairs)
    print(f"CPU, median of {ROUNDS} pairs of processes")
    print(f"bare Django with auth     {bare:6.1f} ms")
    print(f"django-qstash and results +{over:5.1f} ms   ({1 + over / bare:.2f} x)")
