"""The command line of ``python -m django_qstash.devserver`` and ``manage.py qstash_dev``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django_qstash import durations
from django_qstash.conf import DEVELOPMENT_URL
from django_qstash.devserver import parent
from django_qstash.devserver.faults import REFUSALS, Faults, Knobs
from django_qstash.devserver.limits import DEFAULT_PARALLELISM, DEFAULT_PLAN, PLANS
from django_qstash.devserver.probe import probe

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = urlsplit(DEVELOPMENT_URL).port or 8585
#: Seconds between two looks for the parent process.
_PARENT_INTERVAL = 0.5

DESCRIPTION = "A QStash-compatible server for development and tests."
MISSING = "The development server needs aiohttp: pip install 'django-qstash[dev-server]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define every option."""
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port; 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        "--db", metavar="FILE", help="keep everything in this SQLite file; default: in memory"
    )
    parser.add_argument(
        "--map-host",
        metavar="HOST=URL",
        action="append",
        type=_host_map,
        default=[],
        help="deliver to URL what is published for HOST; may be repeated",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="let browsers use the page under this name; loopback and addresses are allowed",
    )
    parser.add_argument(
        "--retry-scale",
        metavar="X",
        type=_scale,
        default=1.0,
        help="factor on the back-off between retries, such as 0.1; delays and cron stay true",
    )
    parser.add_argument(
        "--plan", choices=sorted(PLANS), default=DEFAULT_PLAN, help="limits of this QStash plan"
    )
    parser.add_argument(
        "--parallelism",
        metavar="N",
        type=_positive,
        default=DEFAULT_PARALLELISM,
        help="calls open at a time (%(default)s)",
    )
    parser.add_argument(
        "--parent-pid", metavar="PID", type=_positive, help="end when that process has ended"
    )
    parser.add_argument("--quiet", action="store_true", help="log nothing but problems")
    _add_faults(parser)


def _add_faults(parser: argparse.ArgumentParser) -> None:
    faults = parser.add_argument_group(
        "faults", "Chances from 0 to 1, to see whether your tasks bear repetition."
    )
    chance: dict[str, Any] = {"metavar": "P", "type": _chance, "default": 0.0}
    faults.add_argument("--duplicate", **chance, help="deliver twice")
    faults.add_argument("--reorder", **chance, help="let later messages overtake")
    faults.add_argument("--extra-delay", **chance, help="start late")
    faults.add_argument(
        "--extra-delay-by", metavar="D", type=_duration, default=1.0, help="how late (1s)"
    )
    faults.add_argument("--drop-ack", **chance, help="lose the destination's good answer")
    faults.add_argument("--refuse", **chance, help="refuse a publish")
    faults.add_argument(
        "--refuse-with", choices=REFUSALS, default=REFUSALS[0], help="how (%(default)s)"
    )
    faults.add_argument("--seed", metavar="N", type=int, help="make all of them repeatable")


def knobs(options: Mapping[str, Any]) -> Knobs:
    """The fault knobs that the options say."""
    return Knobs(
        duplicate=options["duplicate"],
        reorder=options["reorder"],
        delay=options["extra_delay"],
        delay_by=options["extra_delay_by"],
        drop_ack=options["drop_ack"],
        refuse=options["refuse"],
        refuse_with=options["refuse_with"],
        seed=options["seed"],
    )


def run(options: Mapping[str, Any]) -> int:
    """Serve until SIGINT, SIGTERM or the end of the parent. The process's exit status."""
    try:
        import aiohttp  # noqa: F401 - everything that needs it is imported after this
    except ImportError:
        return _fail(MISSING)
    _configure_logging(quiet=options["quiet"])
    # Waiting messages are no garbage, and a hundred thousand of them take long to look through.
    gc.set_threshold(100_000, 50, 100)
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        return _fail(_explain(error, options))
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 1


async def _serve(options: Mapping[str, Any]) -> None:
    from django_qstash.devserver.server import Server, banner
    from django_qstash.devserver.setup import build

    built = build(
        db=options["db"],
        plan=options["plan"],
        parallelism=options["parallelism"],
        retry_scale=options["retry_scale"],
        faults=Faults(knobs(options)),
    )
    server = Server(
        built.state,
        host=options["host"],
        port=options["port"],
        host_map=dict(options["map_host"]),
        allowed_hosts=options["allow_host"],
        commit=built.commit,
    )
    stop = asyncio.Event()
    _stop_on_signals(stop)
    try:
        await server.start()
        sys.stdout.write(banner(server) + "\n")
        sys.stdout.flush()
        watch = asyncio.create_task(_watch(options["parent_pid"], stop))
        await stop.wait()
        watch.cancel()
        await server.stop()
    finally:
        built.close()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(name, stop.set)
        except NotImplementedError:
            # Windows' event loops know no signals.
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(stop.set))


async def _watch(pid: int | None, stop: asyncio.Event) -> None:
    if pid is None:
        return
    while parent.is_running(pid):  # noqa: ASYNC110 - no event tells of a foreign process's end
        await asyncio.sleep(_PARENT_INTERVAL)
    stop.set()


def _configure_logging(*, quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            "ts=%(asctime)s.%(msecs)03d level=%(levelname)s logger=%(name)s %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )
    )
    logger = logging.getLogger("django_qstash.devserver")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def _explain(error: OSError, options: Mapping[str, Any]) -> str:
    address = f"{options['host']}:{options['port']}"
    if error.errno != errno.EADDRINUSE:
        return f"Cannot serve on {address}: {error.strerror or error}"
    with contextlib.suppress(ValueError):
        if probe(f"http://{address}") == "qstash":
            return f"A QStash server is running on {address} already; use it, or choose --port."
    return f"Port {options['port']} on {options['host']} is taken; choose another with --port."


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _chance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a chance between 0 and 1")
    return value


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor of zero or more")
    return value


def _duration(text: str) -> float:
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _host_map(text: str) -> tuple[str, str]:
    host, sign, url = text.partition("=")
    parts = urlsplit(url)
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    if not (host and sign and parts.scheme in ("http", "https") and parts.netloc and bare):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST=URL, such as example.com=http://127.0.0.1:8000"
        )
    return host, url
