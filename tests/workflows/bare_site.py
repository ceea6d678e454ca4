"""A site with no database and no app but ours: what it can do is printed as JSON.

Run as a program. ``DATABASES`` is empty, so whatever asks for a database fails.
"""

import json
import sys
import types

import django


def main():
    from django.conf import settings

    settings.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django_qstash"],
        ROOT_URLCONF="bare_urls",
        DATABASES={},
        USE_TZ=True,
    )
    from django.urls import include, path

    urls = types.ModuleType("bare_urls")
    sys.modules["bare_urls"] = urls
    django.setup()

    import django_qstash
    import django_qstash.workflows as workflows

    urls.urlpatterns = [path("qstash/webhook/", include("django_qstash.urls"))]
    told = {"names": 0, "ended": [], "heard": [], "refused": {}}
    for package in (django_qstash, workflows):
        told["names"] += len([getattr(package, name) for name in package.__all__])

    @workflows.workflow("bare.order")
    def order(ctx, item):
        reserved = ctx.step.run("reserve", lambda: f"1 x {item}")
        ctx.step.sleep("dry", "1h")
        ctx.step.run("end", told["ended"].append, reserved)

    @workflows.workflow("bare.waiting", on_failure=lambda ctx: told["heard"].append(str(ctx.error)))
    def waiting(ctx):
        ctx.step.wait_for_signal("go")

    from django.core.management import call_command

    from django_qstash.testing import QStashSandbox

    with QStashSandbox() as qstash:
        run = order.delay("poster")
        waiting.delay()
        qstash.deliver_all(copies=2)
        refused = {
            "result": run.result,
            "state": run.state,
            "steps": run.steps,
            "cancel": run.cancel,
            "signal": lambda: run.signal("go"),
            "notify": lambda: workflows.notify("key"),
            "list_runs": workflows.list_runs,
            "get_stats": workflows.get_stats,
            "run_workflow": lambda: workflows.run_workflow(order, "x"),
            "idempotency_key": lambda: order.trigger("x", idempotency_key="k"),
        }
        for name, ask in refused.items():
            try:
                told["refused"][name] = f"answered {ask()!r}"
            except django_qstash.WorkflowError as error:
                told["refused"][name] = str(error)
        call_command("check")
    ours = [name for name in sys.modules if name.startswith("django_qstash")]
    told["models"] = [name for name in ours if name.endswith(".models")]
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
