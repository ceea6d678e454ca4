"""One application in the folder of the settings, with a base class and signals of its own."""

import os

from celery import Celery, Task, signals
from celery.signals import task_failure, task_postrun, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")

heard = []


class NewsroomTask(Task):
    """Every task of the newsroom."""

    abstract = True
    max_retries = 1
    default_retry_delay = 0

    def __call__(self, *args, **kwargs):
        heard.append(["call", self.name])
        return super().__call__(*args, **kwargs)

    def on_success(self, retval, task_id, args, kwargs):
        heard.append(["on_success", self.name, retval])

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        heard.append(["on_failure", self.name, str(exc)])

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        heard.append(["on_retry", self.name, str(exc)])

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        heard.append(["after_return", self.name, status])


app = Celery("newsroom", task_cls=NewsroomTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(task_routes={"newsroom.feeds.*": {"queue": "feeds"}})
app.autodiscover_tasks()


@app.on_after_finalize.connect
def set_up_periodic_tasks(sender, **kwargs):
    sender.add_periodic_task(
        600.0, sender.tasks["newsroom.feeds.tasks.poll"].s("wire"), name="poll"
    )


@task_prerun.connect
def began(sender, task_id, task, args, kwargs, **_):
    heard.append(["task_prerun", sender.name, list(args)])


@task_postrun.connect
def ended(sender, task_id, task, args, kwargs, retval, state, **_):
    heard.append(["task_postrun", sender.name, state])


@task_failure.connect
def failed(sender, task_id, exception, args, kwargs, traceback, einfo, **_):
    heard.append(["task_failure", sender.name, type(exception).__name__])


@signals.task_success.connect
def succeeded(sender, result, **_):
    heard.append(["task_success", sender.name, result])


@signals.worker_process_init.connect
def prepare(**_):
    """Connections of a process are opened here."""
