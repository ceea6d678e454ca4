"""Fixtures by Celery's names. Celery: ``celery.contrib.pytest``.

There is no worker to start: ``celery_worker`` is the QStash of the test, told to deliver at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from django_qstash.pytest_plugin import let_use_the_database

if TYPE_CHECKING:
    from django_qstash.application.app import Celery
    from django_qstash.testing import QStashSandbox


class TestWorker:
    """What ``celery_worker`` is: somebody who runs what the test sends."""

    __test__ = False

    def __init__(self, app: Celery, sandbox: QStashSandbox) -> None:
        self.app = app
        #: The QStash behind it, with all that was sent and delivered.
        self.qstash = sandbox

    def reload(self, modules: Sequence[str] | None = None, reload: bool = False) -> None:
        """Register the tasks that the test has made: they are already; ``modules`` are imported."""
        import importlib

        for name in modules or ():
            module = importlib.import_module(name)
            if reload:
                importlib.reload(module)
        self.app.finalize()

    def ensure_started(self) -> None:
        """It is always there."""

    def stop(self) -> None:
        """Run what is sent no more; it is kept, and can be delivered by hand."""
        self.qstash.at_once = False


class _Trap:
    """Stands for the current app where a test must not depend on one."""

    def __getattr__(self, name: str) -> Any:
        # Celery's own text, which tests look for.
        raise RuntimeError("Test depends on current_app")


@contextmanager
def _application(
    config: Mapping[str, Any],
    parameters: Mapping[str, Any],
    includes: Sequence[str],
    *,
    trap: bool,
) -> Iterator[Celery]:
    """A Celery object that is current in this block; what was current before is so again after."""
    from django_qstash.application import current
    from django_qstash.application.app import Celery

    given = dict(parameters)
    name = given.pop("name", "celery.tests")
    with current.preserved():
        app = Celery(name, **{"set_as_current": False, **given})
        app.conf.update(config)
        if includes:
            app.conf.include = [*(app.conf.get("include") or ()), *includes]
        try:
            app.import_modules()
            app.finalize()
            if trap:
                current.set_current(None)
                current.set_default(_Trap())  # type: ignore[arg-type]
            else:
                app.set_current()
            yield app
        finally:
            app.close()


@contextmanager
def _qstash(**options: Any) -> Iterator[QStashSandbox]:
    from django_qstash.testing import QStashSandbox

    with QStashSandbox(**options) as sandbox:
        yield sandbox


# --- what a project overrides --------------------------------------------------------------------


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the test's Celery object, by Celery's names. Override it."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Keywords of :class:`Celery`. Override it."""
    return {}


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules to import before the first test with a worker. Override it."""
    return ()


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """True lets every use of ``current_app`` raise in tests with ``celery_app``. Override it."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Celery sets logging up unless this is false. Here it is Django's either way."""
    return False


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """Named by projects that choose a pool. There is no pool here, whatever it is."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Keywords for Celery's worker. There is no worker here that they could mean anything to."""
    return {}


# --- what a test asks for ------------------------------------------------------------------------


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,  # noqa: ARG001 - a project may override it
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """A Celery object for one test; what its tasks send is kept, and delivered to nobody.

    ``@pytest.mark.celery(timezone="Europe/Paris")`` gives it settings of its own.
    """
    mark = request.node.get_closest_marker("celery")
    config = {**celery_config, **(mark.kwargs if mark else {})}
    with ExitStack() as stack:
        app = stack.enter_context(
            _application(config, celery_parameters, (), trap=use_celery_app_trap)
        )
        stack.enter_context(_qstash())
        yield app


@pytest.fixture
def celery_worker(
    request: pytest.FixtureRequest,
    celery_app: Celery,
    celery_includes: Sequence[str],
    celery_worker_pool: str,  # noqa: ARG001 - a project may override it
    celery_worker_parameters: Mapping[str, Any],  # noqa: ARG001 - as above
) -> Iterator[TestWorker]:
    """Whatever the test sends is run, within the call that sends it.

    Where ``pytest-django`` is used, the test may use the database by that, as tasks do.
    """
    let_use_the_database(request)
    with _qstash(deliver="at once") as sandbox:
        worker = TestWorker(celery_app, sandbox)
        worker.reload(celery_includes)
        yield worker


@pytest.fixture(scope="session")
def celery_session_app(
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,  # noqa: ARG001 - a project may override it
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """The same for a whole session."""
    with ExitStack() as stack:
        app = stack.enter_context(
            _application(
                config=celery_config,
                parameters=celery_parameters,
                includes=(),
                trap=use_celery_app_trap,
            )
        )
        stack.enter_context(_qstash())
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Celery,
    celery_includes: Sequence[str],
    celery_worker_pool: str,  # noqa: ARG001 - a project may override it
    celery_worker_parameters: Mapping[str, Any],  # noqa: ARG001 - as above
) -> Iterator[TestWorker]:
    """The same for a whole session; each test asks for the database itself."""
    with _qstash(deliver="at once") as sandbox:
        worker = TestWorker(celery_session_app, sandbox)
        worker.reload(celery_includes)
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Celery) -> None:
    """``current_app`` is the test's, even where the trap is set."""
    celery_app.set_current()
