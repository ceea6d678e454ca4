"""Log records name the task that wrote them, and what it belongs to."""

from __future__ import annotations

import io
import json
import logging

import pytest

from django_qstash import shared_task
from django_qstash.contrib import logging as task_logging
from django_qstash.contrib.logging import (
    JSONFormatter,
    TaskFilter,
    TaskFormatter,
    correlated,
    get_logger,
    get_task_logger,
)
from tests.door import knock, letter

pytestmark = pytest.mark.usefixtures("tidy_registry")

FORMAT = "%(task_name)s[%(task_id)s] %(correlation_id)s %(message)s"


@pytest.fixture
def written():
    """What a handler on a logger writes, with a formatter of our own choice."""
    handlers = []

    def attach(name, formatter, *filters):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        for each in filters:
            handler.addFilter(each)
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        handlers.append((logger, handler))
        return stream

    yield attach
    for logger, handler in handlers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


class TestTaskLoggers:
    def test_they_are_below_celery_task(self):
        logger = get_task_logger("proj.tasks.below")

        assert logger is logging.getLogger("proj.tasks.below")
        assert logger.parent is logging.getLogger("celery.task")
        assert get_task_logger("proj.tasks.below") is logger
        assert logger.filters.count(task_logging._complete) == 1
        assert get_logger("proj.tasks.plain").parent is logging.getLogger("celery")

    def test_one_that_is_below_already_stays(self):
        logger = get_task_logger("celery.task.sub")

        assert logger.parent is logging.getLogger("celery.task")

    @pytest.mark.parametrize("name", ["celery", "celery.task"])
    def test_their_parents_names_are_reserved(self, name):
        with pytest.raises(RuntimeError, match="is reserved"):
            get_task_logger(name)

    def test_records_name_their_task(self, caplog):
        logger = get_task_logger("proj.tasks.naming")

        @shared_task
        def one():
            logger.warning("inside")

        logger.warning("outside")
        result = one.apply()

        outside, inside = caplog.records
        assert (outside.task_name, outside.task_id) == ("???", "???")
        assert (inside.task_name, inside.task_id) == (one.name, result.id)

    def test_their_records_reach_the_handlers_of_celery_task(self, written):
        stream = written("celery.task", logging.Formatter("%(message)s"))

        get_task_logger("proj.tasks.reaching").info("arrived")

        assert stream.getvalue() == "arrived\n"


class TestFilterAndFormatter:
    def test_the_filter_serves_any_logger(self, written):
        stream = written("elsewhere", logging.Formatter(FORMAT), TaskFilter())

        @shared_task
        def one():
            logging.getLogger("elsewhere").info("inside")

        result = one.apply()
        logging.getLogger("elsewhere").info("outside")

        assert stream.getvalue() == (
            f"{one.name}[{result.id}] {result.id} inside\n???[???] None outside\n"
        )

    def test_the_formatter_needs_no_filter(self, written):
        stream = written("elsewhere", TaskFormatter(FORMAT, use_color=True))

        with correlated("request-1"):
            logging.getLogger("elsewhere").info("outside")

        assert stream.getvalue() == "???[???] request-1 outside\n"

    def test_it_is_configured_as_the_docstring_says(self):
        import re
        import textwrap
        from logging.config import dictConfig

        text = re.search(r"LOGGING = \{.*?\n    \}\n", task_logging.__doc__, re.DOTALL)[0]
        names = {}
        exec(textwrap.dedent("    " + text), names)
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            dictConfig({**names["LOGGING"], "disable_existing_loggers": False})
            (handler,) = root.handlers
            assert isinstance(handler.formatter, JSONFormatter)
            assert isinstance(handler.filters[0], TaskFilter)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


class TestJSON:
    def test_a_line(self, written):
        stream = written("elsewhere", JSONFormatter())

        @shared_task
        def one():
            logging.getLogger("elsewhere").warning(
                "paid %s", 7, extra={"order": 7, "how": {1, 2}.__class__}
            )

        result = one.apply()

        line = json.loads(stream.getvalue())
        assert line.pop("time").endswith("+00:00")
        assert line == {
            "level": "WARNING",
            "logger": "elsewhere",
            "message": "paid 7",
            "task_id": result.id,
            "task_name": one.name,
            "correlation_id": result.id,
            "order": 7,
            "how": "<class 'set'>",
        }

    def test_outside_of_a_task_it_names_none(self, written):
        stream = written("elsewhere", JSONFormatter())

        logging.getLogger("elsewhere").info("hello")

        assert {"task_id", "task_name", "correlation_id"}.isdisjoint(json.loads(stream.getvalue()))

    def test_an_exception_and_a_stack(self, written):
        stream = written("elsewhere", JSONFormatter())

        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("elsewhere").exception("it failed", stack_info=True)

        line = json.loads(stream.getvalue())
        assert "ValueError: broken" in line["exception"]
        assert "test_an_exception_and_a_stack" in line["stack"]
        assert "\n" not in stream.getvalue().strip()

    def test_extra_does_not_hide_what_is_said(self, written):
        stream = written("elsewhere", JSONFormatter())

        logging.getLogger("elsewhere").info("hello", extra={"level": "own", "logger": "own"})

        line = json.loads(stream.getvalue())
        assert (line["level"], line["logger"]) == ("INFO", "elsewhere")


@pytest.mark.django_db
class TestWhatIsLoggedOfTasks:
    def test_no_arguments_and_no_results(self, caplog):
        caplog.set_level(logging.INFO, "django_qstash.tasks")

        knock(letter("tests.shop.tasks.add", 12345, 54321))

        assert "begins" in caplog.text
        assert "succeeded" in caplog.text
        assert "12345" not in caplog.text
        assert "66666" not in caplog.text

    def test_unless_they_are_asked_for(self, caplog, settings):
        caplog.set_level(logging.INFO, "django_qstash.tasks")
        settings.DJANGO_QSTASH_LOG_TASK_ARGS = True

        knock(letter("tests.shop.tasks.add", 12345, 54321))

        assert "begins: [12345, 54321] {}" in caplog.text
        assert "66666" in caplog.text

    def test_then_as_their_sender_shows_them(self, caplog, settings):
        caplog.set_level(logging.INFO, "django_qstash.tasks")
        settings.DJANGO_QSTASH_LOG_TASK_ARGS = True

        knock(letter("tests.shop.tasks.add", 12345, 54321, argsrepr="(…)", kwargsrepr="{}"))

        assert "begins: (…) {}" in caplog.text
        assert "12345" not in caplog.text
