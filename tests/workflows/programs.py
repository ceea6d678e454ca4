"""Workflows drawn by lot: a program is data, and these workflows do what their program says.

Each operation knows what its value must be, which effects it has, and what it needs from outside.
"""

from __future__ import annotations

import inspect
import json
import random
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from django_qstash import NonRetryableError, shared_task
from django_qstash.exceptions import RunFailed, StepFailed
from django_qstash.workflows import RetryPolicy, send_signal, workflow
from django_qstash.workflows.calls import Call, checked, result_of
from tests.shop.models import Effect

#: How often each function was called, committed or not.
CALLS: Counter[str] = Counter()
#: The runs whose failure was heard.
HEARD: list[str] = []

#: A FIFO queue of QStash.
QUEUE = "storm"
#: A service that answers with what comes after this, once it has failed as often as it is asked to.
ELSEWHERE = "https://elsewhere.example.com/"
#: By what is called there: the idempotency keys that it was called with.
KEYS: dict[str, set[str]] = defaultdict(set)

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


@workflow("storm.queued", retry=POLICY, queue=QUEUE, on_failure=hear)
def queued(ctx):
    """Its letters come one after the other, with those of all others of its kind."""
    return follow(ctx, ctx.data)


@workflow("storm.awaiting", retry=POLICY, on_failure=hear)
async def awaiting(ctx):
    return [await _awaited(OPERATIONS[op["op"]](ctx, op)) for op in ctx.data["ops"]]


WORKFLOWS = {"patient": patient, "hasty": hasty, "queued": queued, "awaiting": awaiting}


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


def hand_in(key: str) -> str:
    """A task that is sent with the transaction of its step, which the outbox makes one."""
    CALLS[key] += 1
    errand.delay(key, 0)
    return key


def answer(url: str, idempotency_key: str) -> tuple[int, str]:
    """What the service elsewhere says."""
    key, _, fails = url.removeprefix(ELSEWHERE).partition("?fails=")
    KEYS[key].add(idempotency_key)
    CALLS[key] += 1
    return (500 if CALLS[key] <= int(fails) else 200), key


def fetch(asked: Call, idempotency_key: str) -> dict[str, Any]:
    """In the place of the network."""
    status, key = answer(asked.url, idempotency_key)
    told = result_of(status, json.dumps(key).encode(), {})
    return checked(asked.raise_for_status, asked.method, asked.url, told)


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
    """Each operation is a generator of what its body would await."""
    return [_followed(OPERATIONS[op["op"]](ctx, op)) for op in program["ops"]]


def _followed(operation: Generator[Any, Any, Any]) -> Any:
    value = None
    while True:
        try:
            value = operation.send(value)
        except StopIteration as end:
            return end.value


async def _awaited(operation: Generator[Any, Any, Any]) -> Any:
    go_on, given = operation.send, None
    while True:
        try:
            asked = go_on(given)
        except StopIteration as end:
            return end.value
        try:
            go_on, given = operation.send, await asked
        except Exception as error:
            go_on, given = operation.throw, error


# --- what each operation does ---------------------------------------------------------------------


def _run(ctx, op):
    return (yield ctx.step.run(op["id"], call, op["key"], op["fails"]))


def _atomic(ctx, op):
    return (yield ctx.step.options(atomic=True).run(op["id"], write, op["key"], op["fails"]))


def _refused(ctx, op):
    try:
        yield ctx.step.options(retries=op["fails"]).run(op["id"], refuse, op["key"])
    except StepFailed:
        return (yield ctx.step.run(op["id"] + "-undo", call, op["key"] + "-undo"))


def _sleep(ctx, op):
    yield ctx.step.sleep(op["id"], op["seconds"])


def _signal(ctx, op):
    found = dict.fromkeys(range(len(op["sends"])))
    for number in found:
        found[number] = (yield ctx.step.wait_for_signal(op["id"])).data
    return list(found.values())


def _silence(ctx, op):
    return bool((yield ctx.step.wait_for_signal(op["id"], timeout=op["seconds"])))


def _race(ctx, op):
    found = yield ctx.step.wait_for_signal(op["id"], timeout=op["seconds"])
    return (yield ctx.step.run(op["id"] + "-won", call, found.data if found else "late"))


def _post(ctx, op):
    name = "own-" + op["id"]
    yield ctx.step.options(atomic=True).run(op["id"], post, ctx.run_id, name, op["key"])
    return (yield ctx.step.wait_for_signal(name)).data


def _event(ctx, op):
    return (yield ctx.step.wait_for_event(op["id"], op["key"])).data


def _child(ctx, op):
    return (yield ctx.step.run_workflow(op["id"], WORKFLOWS[op["how"]], op["program"]))


def _bad_child(ctx, op):
    try:
        yield ctx.step.run_workflow(op["id"], WORKFLOWS[op["how"]], op["program"])
    except RunFailed as error:
        return type(error.__cause__).__name__


def _beside(ctx, op):
    handle = yield ctx.step.start_workflow(op["id"], WORKFLOWS[op["how"]], op["program"])
    meanwhile = yield ctx.step.run(op["id"] + "-meanwhile", call, op["key"])
    return [meanwhile, (yield handle.result())]


def _fan(ctx, op):
    handles = [
        ctx.step.options(atomic=part["atomic"]).start(
            part["id"], write if part["atomic"] else call, part["key"], part["fails"]
        )
        for part in op["parts"]
    ]
    if op["between"]:
        yield ctx.step.sleep(op["id"], op["between"])
    return (yield ctx.step.gather(*handles))


def _map(ctx, op):
    step = ctx.step.options(atomic=True)
    return (yield step.map(op["id"], write, op["items"], max_concurrency=op["limit"]))


def _task(ctx, op):
    return (yield ctx.step.task(op["id"], errand, op["key"], 0))


def _bad_task(ctx, op):
    try:
        yield ctx.step.task(op["id"], errand, op["key"], 1000)
    except StepFailed as error:
        return type(error.__cause__).__name__


def _fetch(ctx, op):
    url = f"{ELSEWHERE}{op['key']}?fails={op['fails']}"
    return (yield ctx.step.call(op["id"], url, method="POST", body={}, via=op["via"])).data


def _hand_in(ctx, op):
    return (yield ctx.step.options(atomic=True).run(op["id"], hand_in, op["key"]))


def _values(ctx, op):
    number, at = (yield ctx.uuid(op["id"])), (yield ctx.now(op["id"] + "-at"))
    found = [str(number), str(at), (yield ctx.random(op["id"] + "-n"))]
    return (yield ctx.step.run(op["id"] + "-same", lambda given: given, found)) == found


def _stumble(ctx, op):
    stumble(op["key"], op["fails"], RuntimeError)
    yield from ()


def _fail(ctx, op):
    raise NonRetryableError(op["key"])
    yield


OPERATIONS = {
    name[1:]: function
    for name, function in list(globals().items())
    if inspect.isgeneratorfunction(function)
}


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
    "fetch": 2,
    "hand_in": 1,
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

    _draw_task = _draw_hand_in = _draw_atomic

    def _draw_fetch(self, op, *_):
        op["via"] = self.chance.choice(("process", "qstash"))
        return [op["id"]], op["key"]

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
