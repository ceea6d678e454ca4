"""``django_qstash.celery``: Celery's module paths, so that an import is swapped by its prefix."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import django_qstash
import django_qstash.celery as mirror
from django_qstash.application.absent import MODULES
from django_qstash.exceptions import CeleryError

ABSENT = {f"django_qstash.celery.{name}" for name in MODULES}


def modules():
    return [
        found.name
        for found in pkgutil.walk_packages(mirror.__path__, "django_qstash.celery.")
        if found.name not in ABSENT
    ]


@pytest.mark.parametrize("name", ["django_qstash.celery", *modules()])
def test_every_name_of_a_module_can_be_imported(name):
    module = importlib.import_module(name)

    for exported in getattr(module, "__all__", ()):
        assert getattr(module, exported) is not None


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_a_module_that_has_no_place_here_says_why(name):
    with pytest.raises(ImportError, match="has no place here: "):
        importlib.import_module(name)


@pytest.mark.parametrize("name", ["django_qstash.celery", *modules()])
def test_nothing_is_defined_here(name):
    """Re-exports alone: what a class or function does stands where it belongs."""
    module = importlib.import_module(name)

    made = [
        each
        for each, value in vars(module).items()
        if inspect.isclass(value) or inspect.isfunction(value)
        if value.__module__ == name and each != "__getattr__"
    ]
    assert made == []


def test_the_package_and_the_face_agree():
    for name in set(mirror.__all__) & set(django_qstash.__all__) - {"states"}:
        assert getattr(mirror, name) is getattr(django_qstash, name)


#: Public names of Celery's that are not here: they belong to programs and places that are not.
LEFT_OUT = {
    "celery.app.control": {"flatten_reply"},
    "celery.exceptions": {
        "BackendError",
        "BackendGetMetaError",
        "BackendStoreError",
        "CDeprecationWarning",
        "CPUOversubscribed",
        "CeleryCommandException",
        "CPendingDeprecationWarning",
        "DuplicateNodenameWarning",
        "FixupWarning",
        "ImpossibleError",
        "NotConfigured",
        "QueueNotFound",
        "SecurityError",
        "SecurityWarning",
        "Terminated",
        "WorkerShutdown",
        "WorkerTerminate",
        "reraise",
    },
    "celery.result": {"ResultBase"},
    "celery.utils.graph": {"CycleError", "DOT", "GraphFormatter"},
    "celery.utils.imports": {
        "NotAPackage",
        "cwd_in_path",
        "find_module",
        "import_from_cwd",
        "module_file",
        "reload_from_cwd",
    },
    "celery.utils.log": {
        "ColorFormatter",
        "LOG_LEVELS",
        "LoggingProxy",
        "base_logger",
        "get_multiprocessing_logger",
        "in_sighandler",
        "mlevel",
        "reset_multiprocessing_logger",
        "set_in_sighandler",
    },
}


@pytest.mark.parametrize(
    "name",
    [
        "celery.app.control",
        "celery.canvas",
        "celery.exceptions",
        "celery.result",
        "celery.schedules",
        "celery.signals",
        "celery.states",
        "celery.utils.graph",
        "celery.utils.imports",
        "celery.utils.log",
    ],
)
def test_celerys_own_lists_of_public_names_are_covered(name):
    celery = pytest.importorskip(name)
    ours = importlib.import_module(f"django_qstash.{name}")

    missing = {each for each in celery.__all__ if not hasattr(ours, each)}

    assert missing - LEFT_OUT.get(name, set()) == set()


def test_the_names_that_celery_itself_documents():
    assert set(mirror.__all__) >= {
        *("Celery", "Task", "chain", "chord", "chunks", "current_app", "current_task", "group"),
        *("maybe_signature", "shared_task", "signature", "uuid", "xmap", "xstarmap"),
    }


def test_the_exceptions_have_celerys_families():
    from django_qstash.celery import exceptions

    assert issubclass(exceptions.NotRegistered, (exceptions.TaskError, KeyError))
    assert issubclass(exceptions.Retry, exceptions.TaskPredicate)
    assert issubclass(exceptions.MaxRetriesExceededError, exceptions.TaskError)
    assert issubclass(exceptions.SoftTimeLimitExceeded, Exception)
    assert not issubclass(exceptions.OperationalError, CeleryError)


def test_importing_the_mirror_loads_no_models():
    """A project's package imports its celery.py before Django's settings are there."""
    code = (
        "import sys\n"
        "from django_qstash.celery import Celery, chain, group, shared_task, signature\n"
        "from django_qstash.celery.utils.log import get_task_logger\n"
        "from django_qstash.celery.signals import worker_process_init, task_failure\n"
        "app = Celery('proj')\n"
        "app.config_from_object('django.conf:settings', namespace='CELERY')\n"
        "app.autodiscover_tasks()\n"
        "@app.task(bind=True)\n"
        "def add(self, x): return x\n"
        "assert add(3) == 3\n"
        "print([m for m in ('django.db.models', 'httpx', 'qstash', 'celery') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
        cwd=Path(sys.prefix),
    )

    assert done.stderr == ""
    assert done.stdout.strip() == "[]"
