"""A small configured site for the benchmarks, on a database of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

KEY = "sig_benchmarkbenchmarkbenchmarks"
DOMAIN = "https://bench.example.com"
WEBHOOK = f"{DOMAIN}/qstash/webhook/"


def configure(**overrides) -> None:
    """Set Django up: SQLite in WAL mode, or the database that DATABASE_URL names."""
    import dj_database_url

    folder = Path(tempfile.mkdtemp(prefix="django-qstash-bench-"))
    url = os.environ.get("DATABASE_URL") or f"sqlite:///{folder / 'bench.sqlite3'}"
    database = dj_database_url.parse(url, conn_max_age=600)
    if "sqlite3" in database["ENGINE"] and django.VERSION >= (5, 1):
        database["OPTIONS"] = {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        }
    values = {
        "DEBUG": False,
        "SECRET_KEY": "x",
        "ALLOWED_HOSTS": ["*"],
        "ROOT_URLCONF": "benchmarks.site",
        "INSTALLED_APPS": ["django_qstash", "django_qstash.results", "benchmarks"],
        "DATABASES": {"default": database},
        "USE_TZ": True,
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "LOGGING_CONFIG": None,
        "QSTASH_TOKEN": "bench",
        "QSTASH_CURRENT_SIGNING_KEY": KEY,
        "QSTASH_NEXT_SIGNING_KEY": KEY[::-1],
        "DJANGO_QSTASH_DOMAIN": DOMAIN,
        "DJANGO_QSTASH_TRANSPORT": "django_qstash.transport.local.Outbox",
        **overrides,
    }
    settings.configure(**values)
    django.setup()


def migrate() -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_insert")
        cursor.execute("CREATE TABLE bench_insert (a varchar(64) PRIMARY KEY, b varchar(200))")


@csrf_exempt
def verify_only(request) -> HttpResponse:
    """The least that a webhook of QStash's can do: check the JWT."""
    import jwt

    jwt.decode(
        request.META["HTTP_UPSTASH_SIGNATURE"],
        KEY,
        algorithms=["HS256"],
        issuer="Upstash",
        options={"require": ["iss", "sub", "exp", "nbf"]},
    )
    return HttpResponse(request.body[:0])


@csrf_exempt
def verify_and_insert(request) -> HttpResponse:
    """The same, and one committed row."""
    from django.db import connection

    answer = verify_only(request)
    with connection.cursor() as cursor:
        row = [request.META["HTTP_UPSTASH_MESSAGE_ID"], request.body.decode()]
        cursor.execute("INSERT INTO bench_insert (a, b) VALUES (%s, %s)", row)
    return answer


urlpatterns = [
    path("verify/", verify_only),
    path("insert/", verify_and_insert),
    path("qstash/webhook/", include("django_qstash.urls")),
]
