"""Calls to the client of a connection: every one ends, once, and nothing is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core_app.errors import Conflict, RateLimited
from edge_app.rpc import MethodTimedOut, PeerCalls, PeerGone


async def start_call(calls: PeerCalls, call_id: str, frames: list[str], seconds: float = 60) -> asyncio.Task[Any]:
    task = asyncio.create_task(calls.call(call_id, lambda: frames.append(call_id), seconds))
    await asyncio.sleep(0)
    return task


async def test_a_call_returns_the_clients_result() -> None:
    calls, frames = PeerCalls(), list[str]()
    task = await start_call(calls, "one", frames)
    assert frames == ["one"]
    assert calls.settle("one", {"answer": 42})
    assert await task == {"answer": 42}
    assert not calls.settle("one", {"answer": 43})


async def test_a_failure_of_the_client_is_raised() -> None:
    calls, frames = PeerCalls(), list[str]()
    task = await start_call(calls, "one", frames)
    assert calls.fail("one", Conflict("The tool failed."))
    with pytest.raises(Conflict):
        await task


async def test_a_call_under_way_is_joined_and_sent_once() -> None:
    calls, frames = PeerCalls(), list[str]()
    tasks = [await start_call(calls, "one", frames), await start_call(calls, "one", frames)]
    assert frames == ["one"]
    calls.settle("one", 1)
    assert await asyncio.gather(*tasks) == [1, 1]


async def test_a_call_ends_at_its_time_out_and_a_late_reply_is_unknown() -> None:
    calls, frames = PeerCalls(), list[str]()
    with pytest.raises(MethodTimedOut):
        await calls.call("one", lambda: frames.append("one"), 0.0)
    assert not calls.settle("one", 1)


async def test_the_time_out_of_one_caller_does_not_end_anothers_wait() -> None:
    calls, frames = PeerCalls(), list[str]()
    patient = await start_call(calls, "one", frames)
    with pytest.raises(MethodTimedOut):
        await calls.call("one", lambda: frames.append("again"), 0.0)
    assert calls.settle("one", 1)
    assert await patient == 1


async def test_a_close_ends_all_calls_and_refuses_later_ones() -> None:
    calls, frames = PeerCalls(), list[str]()
    tasks = [await start_call(calls, name, frames) for name in ("one", "two")]
    calls.close()
    for task in tasks:
        with pytest.raises(PeerGone):
            await task
    with pytest.raises(PeerGone):
        await calls.call("three", lambda: frames.append("three"), 60)
    assert frames == ["one", "two"]


async def test_calls_are_bounded() -> None:
    calls, frames = PeerCalls(limit=1), list[str]()
    task = await start_call(calls, "one", frames)
    with pytest.raises(RateLimited):
        await calls.call("two", lambda: frames.append("two"), 60)
    task.cancel()
    await asyncio.wait([task])
    second = await start_call(calls, "two", frames)
    assert calls.settle("two", 2)
    assert await second == 2


async def test_a_call_that_could_not_be_sent_is_forgotten() -> None:
    calls = PeerCalls(limit=1)

    def fail() -> None:
        raise TypeError("no JSON")

    for _ in range(2):
        with pytest.raises(TypeError):
            await calls.call("one", fail, 60)
    assert not calls.settle("one", 1)
