SECRET_KEY = "not a secret"
INSTALLED_APPS = ["orders", "mails"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "bookshop.sqlite3"}}
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
ROOT_URLCONF = "bookshop.urls"

CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.01}
CELERY_RESULT_BACKEND = "cache+memory://"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_TIME_LIMIT = 30 * 60
CELERY_TIMEZONE = TIME_ZONE
