"""``aget()``: waiting without holding the event loop up."""

from __future__ import annotations

import asyncio

import pytest

from django_qstash import AsyncResult, shared_task
from django_qstash import TimeoutError as TaskTimeout
from tests.door import knock, letter
from tests.shop import tasks


@pytest.mark.django_db(transaction=True)
def test_the_event_loop_goes_on_while_a_result_is_waited_for(loopback):
    async def main():
        result = await tasks.add.adelay(2, 3)
        return await result.aget(timeout=5)

    assert asyncio.run(main()) == 5


@pytest.mark.django_db(transaction=True)
def test_a_failure_rises_and_a_time_out_too(loopback):
    async def main():
        failed = await tasks.fail.adelay()
        with pytest.raises(ValueError, match="it broke"):
            await failed.aget(timeout=5)
        with pytest.raises(TaskTimeout):
            await AsyncResult("nobody").aget(timeout=0.05)

    asyncio.run(main())


@pytest.mark.django_db
def test_inside_a_task_it_is_refused_at_once(tidy_registry):
    @shared_task(name="waits")
    async def waits(allowed):
        await AsyncResult("nobody").aget(timeout=0.05, disable_sync_subtasks=not allowed)

    refused, timed_out = letter("waits", False), letter("waits", True)
    knock(refused)
    knock(timed_out)

    assert isinstance(AsyncResult(refused.id).result, RuntimeError)
    assert isinstance(AsyncResult(timed_out.id).result, TaskTimeout)
