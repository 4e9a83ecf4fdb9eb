"""The watchdog finds what holds the loop, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import time

from tests.loop_watch import LIMIT, loop_watched


def burn(seconds: float) -> None:
    """Holds this thread for so much of its processor time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_a_callback_that_holds_the_loop_is_found() -> None:
    with loop_watched() as watch:
        asyncio.get_running_loop().call_soon(burn, 2 * LIMIT)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert watch.longest > LIMIT
    assert "burn" in watch.culprit


async def test_work_in_a_thread_is_not_the_loops() -> None:
    with loop_watched() as watch:
        await asyncio.to_thread(burn, 2 * LIMIT)
    assert watch.longest < 2 * LIMIT


async def test_a_collection_is_not_the_callbacks() -> None:
    def burn_in_collection(phase: str, _: object) -> None:
        if phase == "stop":
            burn(2 * LIMIT)

    with loop_watched() as watch:
        # Before the watch's own, so that it takes place within the collection.
        gc.callbacks.insert(0, burn_in_collection)
        try:
            asyncio.get_running_loop().call_soon(gc.collect)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            gc.callbacks.remove(burn_in_collection)
    assert watch.longest < 2 * LIMIT
