"""What a type checker must know of tasks: a line marked ``# wrong`` must be refused, no other may.

Nothing here runs. Checked by mypy (strict) and pyright (strict) in ``test_typing.py``.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from django_qstash import AsyncResult, Celery, EagerResult, Signature, Task, shared_task
from django_qstash import stashed_task as stashed

app = Celery("typed")


@shared_task
def add(x: int, y: int = 0) -> int:
    return x + y


@shared_task(name="named", max_retries=5, queue="x")
def named(text: str, *, loud: bool = False) -> list[str]:
    return [text]


@shared_task(bind=True, autoretry_for=(OSError,))
def bound(self: Task[..., Any], x: int) -> str:
    assert_type(self.request.retries, int)
    if x:
        raise self.retry(countdown=5)
    return str(x)


@shared_task
async def fetch(url: str) -> bytes:
    return url.encode()


@shared_task(bind=True)
async def fetch_bound(self: Task[..., Any], url: str) -> bytes:
    return url.encode()


@stashed
def stashed_too(x: int) -> float:
    return x / 2


@app.task
def of_app(x: int) -> str:
    return str(x)


@app.task(bind=True, max_retries=1)
def of_app_bound(self: Task[..., Any], x: int) -> str:
    return str(x)


def calls() -> None:
    assert_type(add(1, y=2), int)
    assert_type(named("a", loud=True), list[str])
    assert_type(bound(1), str)
    assert_type(stashed_too(1), float)
    assert_type(of_app(1), str)
    assert_type(of_app_bound(1), str)
    add("1")  # wrong
    add()  # wrong
    named("a", True)  # wrong
    bound("x")  # wrong
    bound(None, 1)  # wrong
    of_app("x")  # wrong
    of_app_bound("x")  # wrong


def sent() -> None:
    assert_type(add.delay(1), AsyncResult[int])
    assert_type(add.delay(1, y=2).get(timeout=1), int)
    assert_type(named.delay("a", loud=True), AsyncResult[list[str]])
    assert_type(bound.delay(1).get(), str)
    assert_type(fetch.delay("a").get(), bytes)
    assert_type(fetch_bound.delay("a").get(), bytes)
    assert_type(of_app.delay(1).get(), str)
    assert_type(of_app_bound.delay(1).get(), str)
    assert_type(add.apply_async((1,), {"y": 2}, countdown=5, queue="x"), AsyncResult[int])
    assert_type(add.apply((1,)), EagerResult[int])
    assert_type(add.apply((1,)).get(), int)
    add.delay("1")  # wrong
    add.delay(1, z=2)  # wrong
    add.delay()  # wrong
    bound.delay("x")  # wrong
    fetch.delay(5)  # wrong
    of_app.delay("x")  # wrong
    named.delay("a", True)  # wrong
    add.apply_async(5)  # wrong
    add.delay_on_commit("1")  # wrong
    text: str = add.delay(1).get()  # wrong
    assert_type(text, str)


async def awaited() -> None:
    assert_type(await add.adelay(1), AsyncResult[int])
    assert_type(await add.aapply_async((1,)), AsyncResult[int])
    assert_type(await (await add.adelay(1)).aget(timeout=1), int)
    await add.adelay("1")  # wrong


def signatures() -> None:
    # Celery lets a signature hold a part of the arguments: the rest comes from the step before.
    assert_type(add.s(1), Signature)
    assert_type(add.si(1, 2), Signature)
    assert_type(named.signature(("a",), countdown=5), Signature)
    add.s()
    add.s(y=2)


def results() -> None:
    known: AsyncResult[int] = AsyncResult("id")
    assert_type(known.get(), int)
    assert_type(known.id, str)
    assert_type(known.state, str)
    assert_type(known.ready(), bool)
    assert_type(known.then(print), AsyncResult[int])
