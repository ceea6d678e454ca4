"""``make demo``: the shop and a QStash server for it, on this machine, with nothing to configure.

``make demo-check`` does the same without a browser: it presses every button and looks what became
of it. Everything lives in ``.demo/`` beside this folder; nothing is read from a ``.env`` file. The
ports and the folder are those of DEMO_PORT, DEMO_QSTASH_PORT and DEMO_FOLDER in the environment.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType, TracebackType

from django_qstash import conf

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
#: Seconds that each process has to answer, and that the first task has to come back.
PATIENCE = 20
#: Settings of the shop that the demo decides, besides those of django-qstash.
OURS = ("DJANGO_SECRET_KEY", "ALLOWED_HOST", "CSRF_TRUSTED_ORIGIN", "USE_LOCAL_QSTASH")


class Failure(Exception):
    """The demo cannot go on; the text says why."""


class Demo:
    """The two processes, their folder and their addresses."""

    def __init__(self, folder: Path, port: int, qstash_port: int) -> None:
        self.folder = folder
        self.port = port
        self.qstash_port = qstash_port
        self.site = f"http://{HOST}:{port}"
        self.qstash = f"http://{HOST}:{qstash_port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self):
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def configure(self) -> None:
        """Set the environment for this process and for those it starts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (*OURS, *(row.name for row in conf.table())):
            os.environ.pop(name, None)
        os.environ.update(
            DEMO="1",
            DJANGO_SETTINGS_MODULE="cfehome.settings",
            DJANGO_DEBUG="True",
            SQLITE_PATH=str(self.folder / "db.sqlite3"),
            MAIL_PATH=str(self.folder / "mail"),
            QSTASH_URL=self.qstash,
            QSTASH_TOKEN=conf.DEVELOPMENT_TOKEN,
            QSTASH_CURRENT_SIGNING_KEY=conf.DEVELOPMENT_CURRENT_KEY,
            QSTASH_NEXT_SIGNING_KEY=conf.DEVELOPMENT_NEXT_KEY,
            DJANGO_QSTASH_DOMAIN=self.site,
        )

    def start(self) -> None:
        """Migrate the database and start both processes. Raises :class:`Failure`."""
        self.configure()
        # It needs no database, so it starts while ours is made ready.
        self._start(
            "qstash",
            *("-m", "django_qstash.devserver", "--port", str(self.qstash_port)),
            *("--parent-pid", str(os.getpid())),
        )
        prepare_database()
        self._start("site", __file__, "--site", f"{HOST}:{self.port}")
        self._wait_for("qstash", f"{self.qstash}/healthz")
        self._wait_for("site", self.site)
        tell_of_schedules()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def watch(self) -> None:
        """Return never; raises :class:`Failure` when a process has ended."""
        while True:
            for name in self.processes:
                self._look_after(name)
            time.sleep(0.3)

    def stop(self) -> None:
        """End both processes, the site first: its last deliveries are answered."""
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()

    def _start(self, name: str, *arguments: str) -> None:
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=HERE,
                # The site ends when this pipe is closed, however we end.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us, who stop them in order.
                start_new_session=True,
            )

    def _wait_for(self, name: str, url: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._look_after(name)
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                raise Failure(f"{url} answered {error.code}.\n{self.tail(name)}") from None
            except OSError:
                time.sleep(0.03)
        raise Failure(f"{url} did not answer within {PATIENCE} s.\n{self.tail(name)}")

    def _look_after(self, name: str) -> None:
        status = self.processes[name].poll()
        if status is not None:
            raise Failure(f"The {name} process ended with {status}.\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-12:]
        return "\n".join([f"The end of {self.log(name)}:", *(f"  {line}" for line in lines)])


def prepare_database() -> None:
    """Migrate, and see to it that there are an admin and a few orders."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User

    from orders.models import Card, Item, Order

    if not User.objects.filter(username="admin").exists():
        User.objects.create_superuser("admin", "admin@example.com", "admin")
    if not Order.objects.exists():
        for customer, item, copies, card in (
            ("Ada Byron", Item.POSTER, 40, Card.GOOD),
            ("Tove Lindqvist", Item.ZINE, 120, Card.GOOD),
            ("Joao Prata", Item.INVITATION, 80, Card.DECLINED),
        ):
            Order.objects.create(
                customer=customer,
                email=f"{customer.split()[0].lower()}@example.com",
                item=item,
                copies=copies,
                card=card,
            )


def tell_of_schedules() -> None:
    """Have QStash fire what the code and the database say. Raises :class:`Failure`."""
    from django.core.management import CommandError, call_command

    said = io.StringIO()
    try:
        call_command("task_schedules", "--sync", "--no-input", stdout=said, stderr=said)
    except CommandError as error:
        raise Failure(f"{error}\n{said.getvalue()}") from error


def round_trip(demo: Demo) -> tuple[str, str, float]:
    """Send one task and wait for its result: the call, what came back, seconds."""
    from django.db import DatabaseError

    from django_qstash import AsyncResult, PublishError
    from orders.buttons import RECEIPT
    from orders.models import Order

    order = Order.objects.earliest("pk")
    began = time.monotonic()
    try:
        job = RECEIPT.press(order)
        answer = AsyncResult(job.task_id).get(timeout=PATIENCE)
    except (PublishError, DatabaseError, TimeoutError) as error:
        raise Failure(f"The first task did not come back: {error}\n{demo.tail('site')}") from error
    return job.call, answer, time.monotonic() - began


def show(demo: Demo, began: float) -> None:
    """Run until Ctrl-C."""
    demo.start()
    call, answer, seconds = round_trip(demo)
    folder = os.path.relpath(demo.folder)
    say(f"""
  One task, there and back in {seconds:.2f} s: published to the QStash server over HTTP, delivered
  to the site as a signed request, executed, recorded, and read from the database:

    {call}.get()  ->  {answer!r}

  The shop          {demo.site}/
  Its admin         {demo.site}/admin/   user admin, password admin
  QStash server     {demo.qstash}   (development only)
  Logs, data, mail  {folder}/

  Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.
""")
    demo.watch()


def serve(address: str) -> None:
    """Be the site's process: Django's own runserver, until whoever started us is gone."""
    from django.core.management import execute_from_command_line

    def end_with_our_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_our_parent, daemon=True).start()
    sys.argv = ["manage.py", "runserver", "--noreload", address]
    execute_from_command_line(sys.argv)


def port_from(variable: str, default: int) -> int:
    """The port that an environment variable names. Raises :class:`Failure` if it is no free one."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure(f"{variable}={text!r} is not a port.")
    port = int(text)
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError as error:
            raise Failure(
                f"Port {port} cannot be had ({error.strerror}). Stop what uses it, or choose "
                f"another: make demo {variable}={port + 1}"
            ) from None
    return port


def free_port() -> int:
    with socket.socket() as attempt:
        attempt.bind((HOST, 0))
        return attempt.getsockname()[1]


def say(text: str) -> None:
    print(text, flush=True)


def interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="The sample shop and its QStash server.")
    parser.add_argument("--check", action="store_true", help="try everything, then exit 0 or 1")
    parser.add_argument("--site", metavar="HOST:PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    began = time.monotonic()
    sys.path.insert(0, str(HERE))
    if options.site:
        serve(options.site)
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    try:
        if options.check:
            from demo_check import check

            with (
                tempfile.TemporaryDirectory(prefix="demo-check-") as folder,
                Demo(Path(folder), free_port(), free_port()) as demo,
            ):
                return check(demo, began)
        ports = port_from("DEMO_PORT", 8000), port_from("DEMO_QSTASH_PORT", 8585)
        folder = Path(os.environ.get("DEMO_FOLDER") or HERE.parent / ".demo").resolve()
        with Demo(folder, *ports) as demo:
            show(demo, began)
    except Failure as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\n  Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
