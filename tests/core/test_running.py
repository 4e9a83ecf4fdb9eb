"""A deadline ends its block like `asyncio.timeout`, near ones by a timer, far ones when the loop is looked at."""

from __future__ import annotations

import asyncio
import gc

import pytest

from core_app import running
from core_app.running import Deadline, Far, running_loop


async def test_the_running_loop_is_the_threads_own_in_every_loop() -> None:
    here = asyncio.get_running_loop()

    async def elsewhere() -> bool:
        return running_loop() is asyncio.get_running_loop()

    assert running_loop() is here
    assert await asyncio.to_thread(asyncio.run, elsewhere())
    assert running_loop() is here


def test_there_is_no_running_loop_outside_of_one() -> None:
    with pytest.raises(RuntimeError):
        running_loop()


async def test_a_near_deadline_ends_the_block() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(0.0):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_far_deadline_ends_the_block_when_it_is_looked_at() -> None:
    loop = asyncio.get_running_loop()

    async def waits() -> None:
        async with Deadline(60.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    far = running._far[loop]
    (deadline,) = far.deadlines
    far.look(loop)
    assert deadline in far.deadlines
    deadline._at = loop.time()
    far.look(loop)
    with pytest.raises(TimeoutError):
        await task
    assert not far.deadlines


async def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    async with Deadline(60.0):
        await asyncio.sleep(0)
    assert not running._far.get(asyncio.get_running_loop(), Far()).deadlines
    gc.collect()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def waits() -> None:
        async with Deadline(60.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
