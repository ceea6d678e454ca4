from celery import current_app, current_task, states
from celery.exceptions import Ignore
from celery.utils.log import get_task_logger
from config.celery_app import NewsroomTask, app

logger = get_task_logger(__name__)


class Unprintable(Exception):
    pass


class Counting(NewsroomTask):
    """Keeps a number between the calls of one process."""

    abstract = True
    seen = 0


@app.task(bind=True)
def publish(self, title):
    if not title:
        raise Unprintable("no title")
    logger.info("publishing %s", title)
    return [title, self.max_retries, current_task.name]


@app.task(bind=True, name="renamed")
def again(self):
    if not self.request.retries:
        raise self.retry(exc=Unprintable("later"), countdown=0)
    return self.request.retries


@app.task(bind=True, base=Counting)
def count(self):
    self.seen += 1
    return self.seen


@app.task
def annotated():
    return current_app.tasks["newsroom.articles.tasks.annotated"].max_retries


@app.task(bind=True)
def progress(self, steps):
    for step in range(steps):
        self.update_state(state="PRINTING", meta={"step": step})
    return steps


@app.task(bind=True)
def withdrawn(self):
    self.update_state(state=states.REVOKED)
    raise Ignore


@app.task(typing=False)
def anything(*args, **kwargs):
    return [list(args), kwargs]
