"""What a visitor brings about."""

from bookshop.celery import app, debug_task
from celery.result import AsyncResult
from mails import tasks as mails

from orders import tasks as orders


def run(wait):
    told = {}
    told["price"] = orders.price.delay("paper", count=2).get(timeout=10)
    told["reserve"] = orders.reserve.delay("ink").get(timeout=10)
    told["calls"] = orders.calls
    told["ship"] = orders.ship.delay("paper").get(timeout=10)
    told["hopeless"] = orders.hopeless.delay().get(timeout=10)

    failed = orders.explode.apply_async(("no paper",), link_error=mails.on_error.s())
    try:
        failed.get(timeout=10)
    except ValueError as error:
        told["failed"] = [str(error), failed.state, AsyncResult(failed.id).state]
    linked = orders.price.apply_async(("ink",), link=mails.thanks.s("eve"))
    told["linked"] = linked.get(timeout=10)

    bill = orders.order("bob", ["ink", "paper", "paper"]).apply_async()
    told["bill"] = bill.get(timeout=10)
    errand = orders.errand()()
    told["errand"] = [errand.get(timeout=10), errand.parent.get(timeout=10)]
    told["ignored"] = [mails.send_mail.delay("joe", "hi").get(timeout=10)]
    orders.report.delay_on_commit(9)
    app.send_task("orders.tasks.report", args=[8])
    told["by name"] = app.signature("orders.tasks.report", args=(7,)).delay().get(timeout=10)
    wait(lambda: len(mails.sent) >= 4)
    told["debug"] = [debug_task.delay().get(timeout=10), debug_task(), debug_task.apply().get()]
    told["mails"] = sorted(mails.sent)
    told["schedule"] = [
        [name, entry["task"], repr(entry["schedule"])]
        for name, entry in app.conf.beat_schedule.items()
    ]
    told["tasks"] = sorted(
        name for name in app.tasks if name.startswith(("orders.", "mails.", "bookshop."))
    )
    told["settings"] = [app.conf.task_time_limit, str(app.timezone), app.conf.task_serializer]
    return told
