"""What the editors bring about."""

from config.celery_app import app, heard
from newsroom.articles import tasks as articles
from newsroom.feeds import tasks as feeds


def heard_of(name):
    return [[word, *rest] for word, task, *rest in heard if task == name]


def run(wait):
    told = {}
    told["publish"] = articles.publish.delay("Extra!").get(timeout=10)
    wait(lambda: ["task_postrun", articles.publish.name, "SUCCESS"] in heard)
    told["heard of success"] = heard_of(articles.publish.name)
    heard.clear()

    failed = articles.publish.delay("")
    failed.get(timeout=10, propagate=False)
    wait(lambda: ["task_postrun", articles.publish.name, "FAILURE"] in heard)
    told["heard of failure"] = [failed.state, repr(failed.result), heard_of(articles.publish.name)]
    heard.clear()

    told["again"] = articles.again.delay().get(timeout=10)
    wait(lambda: ["task_postrun", "renamed", "SUCCESS"] in heard)
    told["heard of retry"] = heard_of("renamed")

    told["count"] = [articles.count.delay().get(timeout=10) for _ in range(3)]
    told["annotated"] = articles.annotated.delay().get(timeout=10)
    told["progress"] = articles.progress.delay(3).get(timeout=10)
    told["anything"] = articles.anything.delay(1, x=[2]).get(timeout=10)
    told["poll"] = feeds.poll.delay("wire").get(timeout=10)
    told["urgent"] = feeds.poll.apply_async(("wire",), queue="feeds").get(timeout=10)
    withdrawn = articles.withdrawn.delay()
    wait(lambda: withdrawn.state == "REVOKED")
    told["withdrawn"] = withdrawn.state
    told["by name"] = app.send_task("renamed").get(timeout=10)
    told["classes"] = [app.Task.max_retries, articles.publish.app is app, articles.publish.name]
    told["periodic"] = {
        name: [entry["task"], entry["schedule"], list(entry["args"])]
        for name, entry in app.conf.beat_schedule.items()
    }
    told["routes"] = app.conf.task_routes
    return told
