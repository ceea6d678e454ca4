"""A print shop. Everything may be set in the environment or in a .env file; nothing has to be."""

import os
from pathlib import Path
from typing import Any

import django
from decouple import AutoConfig, Config, Csv, RepositoryEmpty
from django.core.exceptions import ImproperlyConfigured

from django_qstash import conf

BASE_DIR = Path(__file__).resolve().parent.parent

# The demo runs as it does on a fresh machine, whatever a .env file here says.
config = Config(RepositoryEmpty()) if os.environ.get("DEMO") else AutoConfig()

# True suits a sample that is to run at once. A site of your own should default to False.
DEBUG = config("DJANGO_DEBUG", default=True, cast=bool)

SECRET_KEY = config("DJANGO_SECRET_KEY", default="") or ("only-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("Without DJANGO_DEBUG, set DJANGO_SECRET_KEY to a long random text.")

ALLOWED_HOSTS = config("ALLOWED_HOST", default="", cast=Csv())
CSRF_TRUSTED_ORIGINS = config("CSRF_TRUSTED_ORIGIN", default="", cast=Csv())
if DEBUG:
    ALLOWED_HOSTS += [".localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_qstash",
    "django_qstash.results",
    "django_qstash.outbox",
    "django_qstash.workflows",
    "django_qstash.schedules",
    "orders",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "cfehome.urls"
WSGI_APPLICATION = "cfehome.wsgi.application"
ASGI_APPLICATION = "cfehome.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "orders.context.links",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": config("SQLITE_PATH", default=str(BASE_DIR / "db.sqlite3")),
        # Deliveries arrive side by side, and SQLite lets one write at a time: wait for it.
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# Receipts are written into a folder, so that nobody is written to by accident.
MAIL_PATH = config("MAIL_PATH", default=str(BASE_DIR / ".mail"))
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": MAIL_PATH},
        }
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = MAIL_PATH
DEFAULT_FROM_EMAIL = "Halftone Press <shop@example.com>"

# Read by the Celery object in celery.py, for every task that says nothing else.
CELERY_TASK_SOFT_TIME_LIMIT = config("TASK_SOFT_TIME_LIMIT", default=60, cast=int)

# How slow the press and the couriers are: 1 is what they are, 0 takes no time.
PACE = config("PACE", default=1, cast=float)


def qstash_setting(row: conf.Setting) -> Any:
    try:
        return config(row.name, cast=row.parse)
    except ValueError as error:
        raise ImproperlyConfigured(f"{row.name} in .env or the environment: {error}.") from error


# django-qstash reads its settings here or in the environment, but it knows of no .env file.
for row in conf.table():
    if config(row.name, default=""):
        globals()[row.name] = qstash_setting(row)

# A QStash server that you started yourself at the usual address: Upstash's own, in a container
# (compose.dev.yaml), or `manage.py qstash_dev`. Without this, and with no QSTASH_* setting at all,
# `manage.py runserver` starts one for you.
if DEBUG and config("USE_LOCAL_QSTASH", default=False, cast=bool):
    QSTASH_URL = conf.DEVELOPMENT_URL
    QSTASH_TOKEN = conf.DEVELOPMENT_TOKEN
    QSTASH_CURRENT_SIGNING_KEY = conf.DEVELOPMENT_CURRENT_KEY
    QSTASH_NEXT_SIGNING_KEY = conf.DEVELOPMENT_NEXT_KEY
