"""Both systems at work in one process."""

from both.celery import app
from celery import signals as their_signals
from django.core.checks import run_checks

from django_qstash import current_app, signals
from django_qstash.application.periodic import entries
from django_qstash.results.models import TaskResult
from django_qstash.tasks.registry import tasks as registry
from shop import tasks

heard = {"theirs": [], "ours": []}


@signals.task_success.connect
def ours_succeeded(sender, **_):
    heard["ours"].append(sender.name)


@their_signals.task_success.connect
def theirs_succeeded(sender, **_):
    heard["theirs"].append(sender.name)


def run(wait):
    told = {
        "our tasks": sorted(name for name in registry if name.startswith("shop.")),
        "their tasks": sorted(name for name in app.tasks if name.startswith("shop.")),
        "our schedule": sorted(entries()),
        "their schedule": sorted(app.conf.beat_schedule),
        "our object": current_app.main,
        "checks": [each.id for each in run_checks(tags=["django_qstash"])],
    }
    results = [tasks.theirs.delay(1), tasks.ours.delay(2)]
    told["results"] = [result.get(timeout=10) for result in results]
    wait(lambda: len(tasks.ran) == 2)
    told["ran"] = sorted(tasks.ran)
    tasks.ran.clear()
    crossed = [tasks.ours_sends_theirs.delay(3), tasks.theirs_sends_ours.delay(4)]
    ids = [result.get(timeout=10) for result in crossed]
    wait(lambda: len(tasks.ran) == 2)
    told["crossed"] = sorted(tasks.ran)
    told["rows"] = sorted(TaskResult.objects.values_list("task_name", flat=True))
    told["their results are theirs"] = not TaskResult.objects.filter(task_id=ids[0]).exists()
    wait(lambda: len(heard["theirs"]) == 3)
    told["heard"] = {who: sorted(names) for who, names in heard.items()}
    return told
