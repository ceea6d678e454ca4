"""A small site for the tests: SQLite, or whatever DATABASE_URL names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import dj_database_url

SECRET_KEY = "not a secret"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_qstash",
    "django_qstash.results",
    "django_qstash.schedules",
    "django_qstash.workflows",
    *(["django_qstash.outbox"] if "TESTS_OUTBOX" in os.environ else []),
    "tests.shop",
    "tests.packaged",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DEBUG = "TESTS_DEBUG" in os.environ

_FILE = Path(tempfile.gettempdir()) / f"django_qstash_tests_{os.getpid()}.sqlite3"
DATABASES = {
    "default": dj_database_url.parse(
        os.environ.get("DATABASE_URL") or f"sqlite:///{_FILE}", conn_max_age=60
    )
}
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    DATABASES["default"].setdefault("OPTIONS", {})["charset"] = "utf8mb4"
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, so that threads and processes share it.
    DATABASES["default"]["TEST"] = {"NAME": str(_FILE)}
    DATABASES["default"].setdefault("OPTIONS", {})["timeout"] = 20
if "TESTS_DATABASE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["TESTS_DATABASE"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A process that a test starts is told by its environment where the test's own server is.
if "QSTASH_TOKEN" not in os.environ and "TESTS_UNCONFIGURED" not in os.environ:
    QSTASH_TOKEN = "test-token"
    QSTASH_CURRENT_SIGNING_KEY = "sig_currentcurrentcurrentcurrent"
    QSTASH_NEXT_SIGNING_KEY = "sig_nextnextnextnextnextnextnext"
    DJANGO_QSTASH_DOMAIN = "https://shop.example.com"
    DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Outbox"
