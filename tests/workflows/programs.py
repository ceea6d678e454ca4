"""Workflows drawn by lot: a program is data, and these workflows do what their program says.

Each operation knows what its value must be, which effects it has, and what it needs from outside.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django_qstash import NonRetryableError, shared_task
from django_qstash.exceptions import RunFailed, StepFailed
from django_qstash.workflows import RetryPolicy, send_signal, workflow
from tests.shop.models import Effect

#: How often each function was called, committed or not.
CALLS: Counter[str] = Counter()
#: The runs whose failure was heard.
HEARD: list[str] = []

POLICY = RetryPolicy(max_attempts=6, initial=3, backoff=3, jitter=0)


def hear(ctx: Any) -> None:
    HEARD.append(ctx.run_id)


@workflow("storm.patient", retry=POLICY, on_failure=hear)
def patient(ctx):
    """Goes on within one delivery as far as it can."""
    return follow(ctx, ctx.data)


@workflow("storm.hasty", retry=POLICY, time_budget=1e-9, on_failure=hear)
def hasty(ctx):
    """Hands over to the next delivery after each step."""
    return follow(ctx, ctx.data)


WORKFLOWS = {"patient": patient, "hasty": hasty}


@shared_task(name="storm.errand", atomic=True)
def errand(key, fails):
    stumble(key, fails, NonRetryableError)
    Effect.objects.create(name=key)
    return key


def write(key: str, fails: int = 0) -> str:
    """An effect in the database, of which a failure leaves nothing."""
    Effect.objects.create(name=key)
    stumble(key, fails)
    return key


def call(key: str, fails: int = 0) -> str:
    """An effect outside of the database."""
    stumble(key, fails)
    return key


def stumble(key: str, fails: int, error: type[Exception] = ConnectionError) -> None:
    CALLS[key] += 1
    if CALLS[key] <= fails:
        raise error(f"{key} fails for the {CALLS[key]}. time")


def refuse(key: str) -> None:
    CALLS[key] += 1
    raise ConnectionError(f"{key} always fails")


def post(run_id: str, name: str, data: Any) -> None:
    send_signal(run_id, name, data)


def follow(ctx: Any, program: dict[str, Any]) -> list[Any]:
    return [OPERATIONS[op["op"]](ctx, op) for op in program["ops"]]


# --- what each operation does ---------------------------------------------------------------------


def _run(ctx, op):
    return ctx.step.run(op["id"], call, op["key"], op["fails"])


def _atomic(ctx, op):
    return ctx.step.options(atomic=True).run(op["id"], write, op["key"], op["fails"])


def _refused(ctx, op):
    try:
        ctx.step.options(retries=op["fails"]).run(op["id"], refuse, op["key"])
    except StepFailed:
        return ctx.step.run(op["id"] + "-undo", call, op["key"] + "-undo")


def _sleep(ctx, op):
    ctx.step.sleep(op["id"], op["seconds"])


def _signal(ctx, op):
    return [ctx.step.wait_for_signal(op["id"]).data for _ in op["sends"]]


def _silence(ctx, op):
    return bool(ctx.step.wait_for_signal(op["id"], timeout=op["seconds"]))


def _race(ctx, op):
    found = ctx.step.wait_for_signal(op["id"], timeout=op["seconds"])
    return ctx.step.run(op["id"] + "-won", call, found.data if found else "late")


def _post(ctx, op):
    ctx.step.options(atomic=True).run(op["id"], post, ctx.run_id, "own-" + op["id"], op["key"])
    return ctx.step.wait_for_signal("own-" + op["id"]).data


def _event(ctx, op):
    return ctx.step.wait_for_event(op["id"], op["key"]).data


def _child(ctx, op):
    return ctx.step.run_workflow(op["id"], WORKFLOWS[op["how"]], op["program"])


def _bad_child(ctx, op):
    try:
        ctx.step.run_workflow(op["id"], WORKFLOWS[op["how"]], op["program"])
    except RunFailed as error:
        return type(error.__cause__).__name__


def _beside(ctx, op):
    handle = ctx.step.start_workflow(op["id"], WORKFLOWS[op["how"]], op["program"])
    meanwhile = ctx.step.run(op["id"] + "-meanwhile", call, op["key"])
    return [meanwhile, handle.result()]


def _fan(ctx, op):
    handles = [
        ctx.step.options(atomic=part["atomic"]).start(
            part["id"], write if part["atomic"] else call, part["key"], part["fails"]
        )
        for part in op["parts"]
    ]
    if op["between"]:
        ctx.step.sleep(op["id"], op["between"])
    return ctx.step.gather(*handles)


def _map(ctx, op):
    step = ctx.step.options(atomic=True)
    return step.map(op["id"], write, op["items"], max_concurrency=op["limit"])


def _task(ctx, op):
    return ctx.step.task(op["id"], errand, op["key"], 0)


def _bad_task(ctx, op):
    try:
        ctx.step.task(op["id"], errand, op["key"], 1000)
    except StepFailed as error:
        return type(error.__cause__).__name__


def _values(ctx, op):
    found = [str(ctx.uuid(op["id"])), str(ctx.now(op["id"] + "-at")), ctx.random(op["id"] + "-n")]
    return ctx.step.run(op["id"] + "-same", lambda given: given, found) == found


def _stumble(ctx, op):
    stumble(op["key"], op["fails"], RuntimeError)


def _fail(ctx, op):
    raise NonRetryableError(op["key"])


OPERATIONS = {name[1:]: function for name, function in list(globals().items()) if name[0] == "_"}


# --- drawing one ----------------------------------------------------------------------------------


@dataclass
class Expected:
    """What must be so when everything has ended."""

    #: The keys of effects in the database that happen exactly once.
    effects: list[str] = field(default_factory=list)
    #: By the program's key: the ids of its steps.
    steps: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    #: To be sent by somebody, in this order for each pair of run and name.
    signals: list[tuple[str, str, Any]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    #: Those that may come too late.
    racing: set[str] = field(default_factory=set)


#: The value of an operation that may end in two ways.
EITHER = object()
#: The operations, by how often they are drawn.
WEIGHTS = {
    "run": 4,
    "atomic": 5,
    "sleep": 3,
    "signal": 3,
    "fan": 3,
    "map": 2,
    "child": 2,
    "beside": 1,
    "bad_child": 1,
    "task": 2,
    "bad_task": 1,
    "refused": 1,
    "silence": 1,
    "race": 1,
    "post": 2,
    "event": 2,
    "values": 1,
    "stumble": 1,
}


class Author:
    """Draws programs, and knows what each must come to."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.expected = Expected()
        self._number = 0

    def program(self, key: str, *, depth: int = 0, fails: bool = False) -> dict[str, Any]:
        expected = self.expected
        steps = expected.steps[key] = []
        ops, values = [], []
        for _ in range(self.chance.randint(1, 7 if depth == 0 else 3)):
            op, value = self._operation(key, steps, depth)
            ops.append(op)
            values.append(value)
        if fails:
            ops.append({"op": "fail", "key": key})
            expected.failed.add(key)
            steps.append(("on_failure", 0))
        expected.values[key] = values
        return {"key": key, "ops": ops}

    def _operation(self, owner: str, steps: list[Any], depth: int) -> tuple[dict[str, Any], Any]:
        while True:
            (kind,) = self.chance.choices(list(WEIGHTS), WEIGHTS.values())
            if depth < 2 or kind not in ("child", "beside", "bad_child"):
                break
        self._number += 1
        name = f"{kind}{self._number}"
        op: dict[str, Any] = {"op": kind, "id": name, "key": f"{owner}/{name}"}
        op["fails"] = self.chance.choice((0, 0, 0, 1, 2))
        draw = getattr(self, f"_draw_{kind}", lambda op, *_: ([name], op["key"]))
        own, value = draw(op, owner, depth)
        steps += [step if isinstance(step, tuple) else (step, 0) for step in own]
        return op, value

    # Each completes an operation; returns the steps that it is recorded as, and its value.

    def _draw_atomic(self, op, *_):
        self.expected.effects.append(op["key"])
        return [op["id"]], op["key"]

    _draw_task = _draw_atomic

    def _draw_bad_task(self, op, *_):
        return [op["id"]], "NonRetryableError"

    def _draw_refused(self, op, *_):
        return [op["id"], op["id"] + "-undo"], op["key"] + "-undo"

    def _draw_sleep(self, op, *_):
        op["seconds"] = self.chance.choice((0, 5, 50, 900, 2_000_000))
        return [op["id"]], None

    def _draw_silence(self, op, *_):
        self._draw_sleep(op)
        return [op["id"]], False

    def _draw_race(self, op, owner, *_):
        self._draw_sleep(op)
        self.expected.signals.append((owner, op["id"], op["key"]))
        self.expected.racing.add(op["id"])
        return [op["id"], op["id"] + "-won"], EITHER

    def _draw_signal(self, op, owner, *_):
        op["sends"] = [f"{op['key']}-{n}" for n in range(self.chance.randint(1, 3))]
        self.expected.signals += [(owner, op["id"], data) for data in op["sends"]]
        return [(op["id"], n) for n in range(len(op["sends"]))], op["sends"]

    def _draw_post(self, op, *_):
        return [op["id"], "own-" + op["id"]], op["key"]

    def _draw_event(self, op, owner, *_):
        self.expected.events.append((owner, op["key"]))
        return [op["id"]], op["key"]

    def _draw_child(self, op, _owner, depth):
        op["how"] = self.chance.choice(list(WORKFLOWS))
        fails = op["op"] == "bad_child"
        op["program"] = self.program(op["key"], depth=depth + 1, fails=fails)
        return [op["id"]], "NonRetryableError" if fails else self.expected.values[op["key"]]

    _draw_bad_child = _draw_child

    def _draw_beside(self, op, owner, depth):
        own, value = self._draw_child(op, owner, depth)
        return [*own, op["id"] + "-meanwhile", op["id"] + ":result"], [op["key"], value]

    def _draw_map(self, op, *_):
        op["items"] = [f"{op['key']}-{n}" for n in range(self.chance.randint(1, 5))]
        op["limit"] = self.chance.choice((None, 1, 2))
        self.expected.effects += op["items"]
        return [(op["id"], n) for n in range(len(op["items"]))], op["items"]

    def _draw_values(self, op, *_):
        return [op["id"] + end for end in ("", "-at", "-n", "-same")], True

    def _draw_stumble(self, op, *_):
        return [], None

    def _draw_fan(self, op, *_):
        name, key = op["id"], op["key"]
        op["between"] = self.chance.choice((0, 0, 40))
        op["parts"] = [
            {
                "id": f"{name}-{n}",
                "key": f"{key}-{n}",
                "atomic": self.chance.random() < 0.6,
                "fails": self.chance.choice((0, 0, 0, 1)),
            }
            for n in range(self.chance.randint(1, 4))
        ]
        self.expected.effects += [part["key"] for part in op["parts"] if part["atomic"]]
        own = [part["id"] for part in op["parts"]]
        return own + ([name] if op["between"] else []), [part["key"] for part in op["parts"]]
