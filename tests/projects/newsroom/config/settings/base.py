SECRET_KEY = "not a secret"
INSTALLED_APPS = ["newsroom.articles", "newsroom.feeds"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "newsroom.sqlite3"}}
USE_TZ = True
ROOT_URLCONF = "config.urls"

CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.01}
CELERY_RESULT_BACKEND = "cache+memory://"
CELERY_RESULT_EXTENDED = True
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_TASK_ANNOTATIONS = {"newsroom.articles.tasks.annotated": {"max_retries": 42}}
