"""The keeper renews leases in a thread, gives them up when the loop stands still, and reports a loss to the leg."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.db import InterfaceError

from core_app import database
from events_app import lease
from events_app.lease import Fence
from events_app.models import Stream
from sessions_app.legs import lease_keeper as keeper_module
from sessions_app.legs.lease_keeper import LeaseKeeper
from tests.events.conftest import Leased, lease_expire, leased_stream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quick(settings: Any) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.4


async def expires(stream: Leased) -> float:
    return await database.run(lambda: Stream.objects.values_list("lease_expires", flat=True).get(pk=stream.pk))


async def wait_changed(stream: Leased, before: float) -> None:
    async with asyncio.timeout(60):
        while await expires(stream) == before:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_lease_is_renewed_while_its_leg_runs(quick: None) -> None:
    keeper = LeaseKeeper()
    stream = await database.run(leased_stream)
    await keeper.start()
    keeper.hold(stream.fence, lambda: None)
    await wait_changed(stream, await expires(stream))
    keeper.release(stream.fence)
    await keeper.stop()


async def test_a_look_that_fails_in_any_way_is_not_the_last(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's InterfaceError, of a connection that was closed, is no DatabaseError."""
    failed = threading.Event()

    def fail_once(**_: Any) -> Any:
        monkeypatch.setattr(keeper_module, "leases_renew", lease.leases_renew)
        failed.set()
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(keeper_module, "leases_renew", fail_once)
    keeper = LeaseKeeper()
    stream = await database.run(leased_stream)
    before = await expires(stream)
    await keeper.start()
    keeper.hold(stream.fence, lambda: None)
    await wait_changed(stream, before)
    assert failed.is_set()
    await keeper.stop()


async def test_a_lost_lease_is_told_to_the_leg_once(quick: None) -> None:
    keeper = LeaseKeeper()
    stream = await database.run(leased_stream)
    told: list[str] = []
    lost = asyncio.Event()
    await keeper.start()
    await database.run(lease_expire, stream)

    def tell() -> None:
        told.append("lost")
        lost.set()

    keeper.hold(stream.fence, tell)
    await asyncio.wait_for(lost.wait(), 30)
    await keeper.stop()
    assert told == ["lost"]


async def test_a_loop_that_stands_still_gives_its_leases_up(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread goes on, but the beat is old: it renews nothing, and the lease can be taken."""
    looked = asyncio.Event()
    keeper = LeaseKeeper()
    stream = await database.run(leased_stream)
    await keeper.start()
    loop = asyncio.get_running_loop()
    assert keeper._beat_timer is not None
    keeper._beat_timer.cancel()
    keeper._beat_at -= keeper_module.STALL_SECONDS + 1
    monkeypatch.setattr(keeper_module.logger, "error", lambda *a, **k: loop.call_soon_threadsafe(looked.set))
    before = await expires(stream)
    keeper.hold(stream.fence, lambda: None)
    await asyncio.wait_for(looked.wait(), 30)
    assert await expires(stream) == before
    await database.run(lease_expire, stream)
    taken = await database.run(lambda: lease.lease_claim(stream_id=stream.pk, owner="there", seconds=60))
    assert taken is not None
    await keeper.stop()


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "line"), [(9.0, "lease_gone"), (11.0, "lease_lost")])
async def test_a_lease_is_lost_only_where_it_could_not_be_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Any, seconds: float, line: str
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 10.0
    fence = Fence(1, "me", 1)
    clock, keeper, told = Clock(), LeaseKeeper(), asyncio.Event()
    monkeypatch.setattr(keeper_module, "time", clock)
    keeper._loop = asyncio.get_running_loop()
    keeper.hold(fence, told.set)
    clock.now += seconds
    keeper._check({fence: told.set}, lambda fences: set())
    await asyncio.wait_for(told.wait(), 5)
    (record,) = [record for record in caplog.records if record.name == "gateway.leases"]
    assert line in record.getMessage()


async def test_a_freeze_while_leases_are_asked_for_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 10.0
    fence, told = Fence(1, "me", 1), asyncio.Event()
    clock, keeper = Clock(), LeaseKeeper()
    monkeypatch.setattr(keeper_module, "time", clock)
    keeper._loop, keeper._kept_at, keeper._held = asyncio.get_running_loop(), {fence: clock.now}, {fence: told.set}

    def look(fences: Any) -> set[Fence]:
        clock.now += 11.0
        return set()

    keeper._check({fence: told.set}, look)
    await asyncio.wait_for(told.wait(), 30)
    assert "lease_lost" in caplog.text
