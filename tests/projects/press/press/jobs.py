from celery import chord, group
from celery.app.task import Task
from celery.exceptions import SoftTimeLimitExceeded

from press.application import app


class Sheet(app.Task):
    """A task written as a class."""

    name = "jobs:sheet"
    throws = (KeyError,)

    def run(self, number, *, copies=1):
        if number < 0:
            raise KeyError(number)
        return [number] * copies


sheet = app.register_task(Sheet())


@app.task
def add(x, y):
    return x + y


@app.task
def double(x):
    return 2 * x


@app.task
def gather(parts):
    return sorted(parts)


@app.task(bind=True)
def split(self, number):
    """Becomes a group, whose results are its own."""
    return self.replace(group(double.s(n) for n in range(number)))


@app.task(bind=True)
def whole(self: Task, number):
    return self.replace(chord([double.s(n) for n in range(number)], gather.s()))


@app.task(soft_time_limit=20)
def limited():
    try:
        return limited.soft_time_limit
    except SoftTimeLimitExceeded:
        return None


@app.task
def broken(*args):
    raise RuntimeError("jam")


@app.task
def clean():
    return "clean"
