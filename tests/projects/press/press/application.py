import celery
import celery.schedules


class Press(celery.Celery):
    """Names tasks by what they do, wherever they stand."""

    def gen_task_name(self, name, module):
        return f"{module.rpartition('.')[2]}:{name}"


app = Press("press", config_source="press.celeryconfig")
app.conf.beat_schedule["clean"] = {
    "task": "jobs:clean",
    "schedule": celery.schedules.crontab.from_string("0 4 * * sun"),
}
