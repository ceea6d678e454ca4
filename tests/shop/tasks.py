import os
import signal
import time
from pathlib import Path

from django_qstash import shared_task


@shared_task
def add(x, y):
    """Add two numbers."""
    return x + y


@shared_task(bind=True)
def whoami(self):
    return {
        "id": self.request.id,
        "retries": self.request.retries,
        "headers": dict(self.request.headers),
    }


@shared_task
def fail(message="it broke"):
    raise ValueError(message)


@shared_task
async def add_async(x, y):
    return x + y


@shared_task
def note(name):
    from tests.shop.models import Effect

    Effect.objects.create(name=name)
    return name


@shared_task
def die_once(name):
    """Kill the process that runs it, the first time."""
    from tests.shop.models import Effect

    first = not Effect.objects.filter(name=name).exists()
    Effect.objects.create(name=name)
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@shared_task
def die_always(name):
    from tests.shop.models import Effect

    Effect.objects.create(name=name)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def slow(name, seconds):
    from tests.shop.models import Effect

    Effect.objects.create(name=name)
    time.sleep(seconds)
    return name


@shared_task(bind=True, max_retries=None)
def later(self, seconds):
    raise self.retry(countdown=seconds)


@shared_task
def unstorable():
    return object()


@shared_task(atomic=True)
def tally(values, name):
    """The body of a chord: how many there were, and their sum; its effect is exactly once."""
    from tests.shop.models import Effect

    Effect.objects.create(name=name)
    return [len(values), sum(values)]


@shared_task
def mortal(number, moment):
    """A chord's member whose process dies once, while what it came to is recorded or after that.

    ``moment`` is ``"statement 2"`` (before the second one), ``"commit"``, ``"published"`` or
    ``"done"``: after the commit, after what follows was published, before the answer.
    """
    from tests.shop.models import Effect

    name = f"mortal-{number}"
    first = not Effect.objects.filter(name=name).exists()
    Effect.objects.create(name=name)
    if first:
        _die_at(moment)
    return number


@shared_task(atomic=True)
def payment(name, seconds=0):
    """Its effect is there exactly once."""
    from tests.shop.models import Effect

    Effect.objects.create(name=name)
    time.sleep(seconds)
    return name


@shared_task(atomic=True)
def mortal_payment(name, moment):
    """Its process dies once, at the moment; its effect is there exactly once all the same."""
    from tests.shop.models import Effect

    if not _has_died(moment):
        _die_at(moment)
    Effect.objects.create(name=name)
    return name


@shared_task(atomic=True, bind=True)
def mortal_retry(self, name, moment):
    """As above, and it dies while its retry is recorded and sent."""
    from tests.shop.models import Effect

    if self.request.retries == 0:
        if not _has_died(moment):
            _die_at(moment)
        raise self.retry(countdown=0)
    Effect.objects.create(name=name, detail=str(self.request.retries))
    return self.request.retries


def _has_died(moment):
    deaths = Path(os.environ["TESTS_DEATHS"])
    return deaths.exists() and moment in deaths.read_text().splitlines()


def _die_at(moment):
    from django.db import connection

    from django_qstash import signals

    def die(*args, **kwargs):
        with Path(os.environ["TESTS_DEATHS"]).open("a") as deaths:
            deaths.write(f"{moment}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "published":
        signals.after_task_publish.connect(die, weak=False)
        signals.task_postrun.connect(die, weak=False)
    elif moment == "done":
        signals.task_postrun.connect(die, weak=False)
    else:
        connection.execute_wrappers.append(_Countdown(moment, die))


class _Countdown:
    """Counts statements, and kills before the one it was told."""

    def __init__(self, moment, die):
        self.moment, self.die, self.seen = moment, die, 0

    def __call__(self, execute, sql, params, many, context):
        self.seen += 1
        if self.moment == f"statement {self.seen}":
            self.die()
        connection = context["connection"]
        if self.moment == "commit" and connection.in_atomic_block:
            connection.on_commit(self.die)
            self.moment = "under way"
        return execute(sql, params, many, context)


@shared_task
def last(values):
    return values[-1]
