"""A follower's wait ends with the next batch or with its own time, however long the waits before it were."""

from __future__ import annotations

import asyncio

import pytest

from events_app.hub import Hub
from events_app.subscription import Subscription


@pytest.fixture
def subscription() -> Subscription:
    return Subscription(1)


async def wait_and_nudge(subscription: Subscription, seconds: float) -> bool:
    """Starts a wait and ends it with a nudge; returns its result."""
    waiting = asyncio.create_task(subscription.wait(seconds))
    await asyncio.sleep(0)
    subscription.nudge()
    subscription.nudged = False
    return await waiting


async def test_a_wait_ends_with_its_time(subscription: Subscription) -> None:
    assert not await subscription.wait(0.0)
    assert not await subscription.wait(0.001)


async def test_a_nudge_ends_it_before(subscription: Subscription) -> None:
    assert await wait_and_nudge(subscription, 3600.0)


async def test_a_shorter_wait_after_a_longer_one_ends_in_its_own_time(subscription: Subscription) -> None:
    assert await wait_and_nudge(subscription, 3600.0)
    async with asyncio.timeout(30):
        assert not await subscription.wait(0.001)


async def test_a_longer_wait_is_not_ended_by_the_time_of_a_shorter_one(subscription: Subscription) -> None:
    assert await wait_and_nudge(subscription, 0.001)
    waiting = asyncio.create_task(subscription.wait(3600.0))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    subscription.close()
    assert await waiting


async def test_who_is_detached_leaves_no_timer(subscription: Subscription) -> None:
    assert await wait_and_nudge(subscription, 3600.0)
    Hub().detach(subscription)
    assert subscription._timer is None


async def test_the_hub_tells_how_many_follow() -> None:
    hub = Hub()
    assert hub.audience([1, 2]) == 0
    for stream_id in (1, 1, 2):
        await hub.attach(Subscription(stream_id))
    assert hub.audience([1]) == 2
    assert hub.audience(iter((1, 2, 3))) == 3
