"""``aget()``: waiting without holding the event loop up."""

from __future__ import annotations

import asyncio

import pytest

from tests.shop import tasks


@pytest.mark.django_db(transaction=True)
def test_the_event_loop_goes_on_while_a_result_is_waited_for(loopback):
    async def main():
        result = await tasks.add.adelay(2, 3)
        return await result.aget(timeout=5)

    assert asyncio.run(main()) == 5


@pytest.mark.django_db(transaction=True)
def test_a_failure_rises_and_a_time_out_too(loopback):
    from django_qstash import AsyncResult
    from django_qstash import TimeoutError as TaskTimeout

    async def main():
        failed = await tasks.fail.adelay()
        with pytest.raises(ValueError, match="it broke"):
            await failed.aget(timeout=5)
        with pytest.raises(TaskTimeout):
            await AsyncResult("nobody").aget(timeout=0.05)

    asyncio.run(main())
