from press.application import app as celery_app  # noqa: F401 - made where the settings are

SECRET_KEY = "not a secret"
INSTALLED_APPS = ["press"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "press.sqlite3"}}
USE_TZ = True
ROOT_URLCONF = "press.urls"
