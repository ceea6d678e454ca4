"""Run one project's story and print what it told: ``run.py celery|qstash|both SETTINGS``.

Under Celery a worker in a thread takes the messages from memory; here the Loopback transport
delivers them. The working directory is the project.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path


def main(how: str, settings: str) -> None:
    sys.path.insert(0, str(Path.cwd()))
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    logging.disable(logging.CRITICAL)
    import django

    django.setup()
    import story

    if how != "celery":
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("check", verbosity=0)
    if how != "qstash":
        from celery import result
        from celery.contrib.testing.worker import start_worker

        # It looks for a result twice in a second; the third default is the interval.
        told, asked = result.AsyncResult.get.__defaults__, 0.01
        result.AsyncResult.get.__defaults__ = (*told[:2], asked, *told[3:])
        worker = start_worker(
            story.app,
            pool="threads",
            concurrency=2,
            queues=["celery", "feeds", "own"],
            perform_ping_check=False,
            loglevel="CRITICAL",
        )
        worker.__enter__()
    told = story.run(wait)
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()
    # A worker takes four seconds to stop, and nothing is left to be done.
    os._exit(0)


def wait(true) -> None:
    """Until something is true, for ten seconds."""
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
