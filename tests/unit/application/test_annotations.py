"""``task_annotations``: the configuration sets attributes of tasks."""

from __future__ import annotations

import pytest

from django_qstash import Celery, shared_task
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.tasks.registry import tasks


@pytest.fixture(autouse=True)
def taken_back():
    """What is said of all tasks is said of those of other tests, too."""
    before = {task: dict(vars(type(task))) for task in tasks.values()}
    yield
    for task, attributes in before.items():
        kind = type(task)
        for name in [name for name in vars(kind) if name not in attributes]:
            delattr(kind, name)
        for name, value in attributes.items():
            if vars(kind)[name] is not value:
                setattr(kind, name, value)
        task.options_changed()


class ByName:
    """Annotates a task by what it is."""

    def annotate(self, task):
        return {"max_retries": 8} if task.name == "proj.one" else None

    def annotate_any(self):
        return {"default_retry_delay": 3}


class NoHelp:
    pass


def made(annotations, **options):
    app = Celery("proj", task_annotations=annotations)

    @app.task(name="proj.one", **options)
    def one(x=1):
        return x

    app.finalize()
    return one


def test_of_one_task_and_of_all():
    task = made({"proj.one": {"rate_limit": "5/m"}, "*": {"max_retries": 1, "rate_limit": "1/m"}})

    assert (task.max_retries, task.rate_limit) == (1, "1/m")


def test_delivery_options_are_computed_anew():
    task = made({"proj.one": {"rate_limit": "5/m", "label": "annotated"}})

    assert task.delivery_options()["flow_control"]["rate"] == 5
    assert task.delivery_options()["label"]


@pytest.mark.parametrize(
    "annotations",
    [ByName(), [ByName()], f"{__name__}.ByName", [{"other": {"max_retries": 2}}, ByName()]],
    ids=["object", "list", "path", "second"],
)
def test_objects_that_annotate(annotations):
    task = made(annotations)

    assert (task.max_retries, task.default_retry_delay) == (8, 3)


def test_the_first_that_has_something_to_say_is_heard():
    task = made([{"proj.one": {"max_retries": 2}}, {"proj.one": {"max_retries": 9}}])

    assert task.max_retries == 2


def test_a_method_can_be_wrapped_once():
    def twice(run):
        return lambda *args: run(*args) * 2

    app = Celery("proj", task_annotations={"proj.one": {"@run": twice}})

    @app.task(name="proj.one")
    def one(x):
        return x + 1

    app.finalize()
    app._adopt(one)

    assert one.apply((3,)).get() == 8


def test_tasks_that_come_later_are_annotated_too():
    app = Celery("proj", task_annotations={"proj.late": {"max_retries": 1}})
    app.finalize()

    @shared_task(name="proj.late")
    def late():
        pass

    assert late.max_retries == 1


def test_another_objects_tasks_are_not():
    first = Celery("first", task_annotations={"*": {"max_retries": 1}})
    second = Celery("second")

    @second.task(name="proj.second")
    def one():
        pass

    first.finalize()

    assert one.max_retries == 3


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"*": {"name": "proj.two"}}, "sets 'name' of"),
        ([NoHelp()], "no mapping and has no annotate"),
    ],
)
def test_what_cannot_be(annotations, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        made(annotations)
