"""A workflow with a step of every sort, whose processes are killed."""

from __future__ import annotations

from django_qstash import shared_task
from django_qstash.workflows import send_signal, workflow
from tests.shop.models import Effect


def look(name):
    Effect.objects.create(name=f"{name}/look")
    return 1


def write(key):
    Effect.objects.create(name=key)
    return 1


def call(run_id, key):
    Effect.objects.create(name=key)
    send_signal(run_id, "come", 2)


@shared_task(name="journey.post", atomic=True)
def post(name):
    Effect.objects.create(name=f"{name}/post")
    return 4


@workflow("journey")
def journey(ctx, name):
    step, atomic = ctx.step, ctx.step.options(atomic=True)
    found = step.run("look", look, name)
    found += atomic.run("pack", write, f"{name}/pack")
    step.start_workflow("scout", scout, {"name": name, "parent": ctx.run_id})
    found += step.wait_for_signal("come").data
    step.sleep("rest", 1)
    left = atomic.start("left", write, f"{name}/left")
    right = step.start("right", look, f"{name}/right")
    found += sum(step.gather(left, right))
    found += step.task("post", post, name)
    found += step.run_workflow("guide", guide, {"name": name})
    found += atomic.run("unpack", write, f"{name}/unpack")
    return found


@workflow("journey.scout")
def scout(ctx, name, parent):
    ctx.step.sleep("ahead", 1)
    ctx.step.options(atomic=True).run("call", call, parent, f"{name}/call")


@workflow("journey.guide")
def guide(ctx, name):
    ctx.step.options(atomic=True).run("show", write, f"{name}/show")
    return 8


#: What the journey comes to.
RESULT = 1 + 1 + 2 + 1 + 1 + 4 + 8 + 1
#: What happens exactly once.
ONCE = ["call", "left", "pack", "post", "show", "unpack"]
STEPS = {
    "journey": [
        *("come", "guide", "left", "look", "pack"),
        *("post", "rest", "right", "scout", "unpack"),
    ],
    "journey.scout": ["ahead", "call"],
    "journey.guide": ["show"],
}
