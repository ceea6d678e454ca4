SECRET_KEY = "not a secret"
ALLOWED_HOSTS = ["shop.example.com"]
INSTALLED_APPS = ["django_qstash", "django_qstash.results", "django_qstash.schedules", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "both.sqlite3"}}
USE_TZ = True
ROOT_URLCONF = "both.urls"

CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.01}
CELERY_RESULT_BACKEND = "cache+memory://"
CELERY_TASK_IGNORE_RESULT = False
CELERY_TASK_SOFT_TIME_LIMIT = 5
CELERY_BEAT_SCHEDULE = {"theirs": {"task": "shop.tasks.theirs", "schedule": 60.0}}

DJANGO_QSTASH_DOMAIN = "https://shop.example.com"
DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Loopback"
DJANGO_QSTASH_BEAT_SCHEDULE = {"ours": {"task": "shop.tasks.ours", "schedule": 60.0, "args": [1]}}
QSTASH_TOKEN = "token"
QSTASH_CURRENT_SIGNING_KEY = "sig_currentcurrentcurrentcurrent"
QSTASH_NEXT_SIGNING_KEY = "sig_nextnextnextnextnextnextnext"
