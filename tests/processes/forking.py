"""A web server that forks a process for every request; some of them are killed.

Each port is a site of its own. What its processes do is counted in a file of TESTS_DEATHS named
after the port: a byte for every moment at which one could die, which is before each statement,
commit and answer, and before and after each publish. In ``PORT.at`` stands at which of them one
does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, connections
from django.test import Client

from django_qstash.conf import settings as django_qstash_settings
from django_qstash.transport.http import HttpTransport


class Bomb:
    """Counts the moments of all processes of one site, and kills the one that counts too far."""

    def __init__(self, port: int) -> None:
        directory = Path(os.environ["TESTS_DEATHS"])
        at = directory / f"{port}.at"
        self.at = int(at.read_text()) if at.exists() else 0
        self.file = os.open(directory / str(port), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tick(self) -> None:
        os.write(self.file, b".")
        # Where this very byte is, whoever else has written.
        if os.lseek(self.file, 0, os.SEEK_CUR) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self) -> None:
        commit = connection._commit

        def committing():
            self.tick()
            commit()

        def executing(execute, sql, params, many, context):
            self.tick()
            return execute(sql, params, many, context)

        connection._commit = committing
        connection.execute_wrappers.append(executing)


class Dying(HttpTransport):
    """QStash over HTTP, with a moment before and after."""

    bomb: Bomb

    def publish(self, envelope):
        return self._around(super().publish, envelope)

    def batch(self, envelopes):
        return self._around(super().batch, envelopes)

    def _around(self, publish, argument):
        self.bomb.tick()
        answer = publish(argument)
        self.bomb.tick()
        return answer


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Site(WSGIServer):
    request_queue_size = 64

    def serve_one(self) -> None:
        """Answer one request, in a process of its own."""
        request, address = self.get_request()
        if os.fork():
            request.close()
            return
        try:
            port = self.server_address[1]
            settings.DJANGO_QSTASH_DOMAIN = f"http://127.0.0.1:{port}"
            bomb = Dying.bomb = Bomb(port)
            bomb.arm()
            application = self.get_app()

            def answering(environ, start_response):
                answer = application(environ, start_response)
                bomb.tick()
                return answer

            self.set_app(answering)
            self.finish_request(request, address)
            self.shutdown_request(request)
            connections.close_all()
        finally:
            os._exit(0)


def warm() -> None:
    """Load here what every process would otherwise load for itself."""
    import httpx  # noqa: F401
    import qstash  # noqa: F401

    Client().post(django_qstash_settings.DJANGO_QSTASH_WEBHOOK_PATH, b"{}", "application/json")
    connections.close_all()


def main(ports: list[int]) -> None:
    django.setup()
    from tests.processes import journey  # noqa: F401 - registered

    application = get_wsgi_application()
    warm()
    # Nobody waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sites = {}
    for port in ports:
        site = Site(("127.0.0.1", port), Quiet)
        site.set_app(application)
        site.socket.settimeout(5)
        sites[site.socket] = site
    while True:
        ready, _, _ = select.select(list(sites), [], [])
        for found in ready:
            try:
                sites[found].serve_one()
            except (TimeoutError, socket.timeout, ConnectionError):  # noqa: UP041 - Python 3.10
                continue
