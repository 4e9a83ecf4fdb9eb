"""The hub's repair: what the layer lost is read once for all followers, and their queues are bounded in bytes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.events import MessageDelta
from core_app.database import write_transaction
from events_app import gaps as gaps_module
from events_app import log as event_log
from events_app.batches import EVENT_BYTES, Batch, StoredEvent
from events_app.follower import Follower
from events_app.gaps import Gap, gaps_read
from events_app.models import Event
from events_app.subscription import Subscription
from sessions_app.models import AgentSession
from sessions_app.services.session import SessionRequest, session_create
from tests.conftest import Caller
from tests.events.memory_log import MemoryLog


async def take(follower: Follower) -> list[int]:
    seen: list[int] = []
    while events := await follower.next(0.0):
        seen += [event.offset for event in events]
    return seen


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    log = MemoryLog(monkeypatch)
    for stream_id in (1, 2):
        log.commit(stream_id, 3)
    return log


async def test_what_was_lost_is_read_once_for_all_followers_of_all_streams(log: MemoryLog) -> None:
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(Follower(stream_id, hub=log.hub)) for stream_id in (1, 1, 1, 2)]
        for follower in followers:
            await take(follower)
        for stream_id in (1, 2):
            log.commit(stream_id, 2)
        reads = len(log.reads)
        await log.repair()
        assert [await take(follower) for follower in followers] == [[4, 5]] * 4
        assert log.repairs == [[Gap(1, 3, 5), Gap(2, 3, 5)]]
        assert len(log.reads) == reads


async def test_who_lacks_more_than_is_read_together_reads_the_rest(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps_module, "EVENTS", 2)
    async with Follower(1, hub=log.hub) as near, Follower(1, hub=log.hub) as far:
        await take(far)
        log.deliver(log.commit(1, 4))
        far.subscription.batches.clear()
        far.subscription.given = 3
        await take(near)
        log.commit(1, 1)
        await log.repair()
        assert await take(near) == [8]
        assert await take(far) == [4, 5, 6, 7, 8]


async def test_what_is_read_together_in_part_only_is_read_by_the_follower(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events_app.hub.gaps_read", lambda gaps: {})
    async with Follower(1, hub=log.hub) as follower:
        await take(follower)
        log.commit(1, 2)
        await log.repair()
        assert await take(follower) == [4, 5]


async def test_a_queue_is_bounded_in_bytes(settings: Any) -> None:
    settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 10_000
    subscription, most = Subscription(1), 0
    for offset in range(1, 200):
        subscription.put(Batch(1, [StoredEvent(1, offset, "message_delta", None, b"x" * 700)]))
        most = max(most, subscription.memory)
    assert 9000 < most <= 10_000
    assert (len(subscription.batches), subscription.memory, subscription.nudged) == (0, 0, True)
    assert subscription.given == 199
    subscription.catch_up()
    subscription.put(Batch(1, [StoredEvent(1, 200, "message_delta", None, b"x")]))
    assert subscription.memory == EVENT_BYTES + 1
    subscription.pop()
    assert subscription.memory == 0


async def test_one_event_may_be_larger_than_the_queue(settings: Any) -> None:
    settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 100
    subscription = Subscription(1)
    subscription.put(Batch(1, [StoredEvent(1, 1, "message_delta", None, b"x" * 700)]))
    assert len(subscription.batches) == 1


async def test_a_full_queue_wakes_its_follower(settings: Any) -> None:
    settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 100
    subscription = Subscription(1)
    subscription.put(Batch(1, [StoredEvent(1, 1, "message_delta", None, b"x")]))
    subscription.pop()
    waiting = asyncio.create_task(subscription.wait(3600.0))
    await asyncio.sleep(0)
    for offset in (2, 3):
        subscription.put(Batch(1, [StoredEvent(1, offset, "message_delta", None, b"x")]))
    assert await asyncio.wait_for(waiting, 30)


def session_with_events(owner: Caller, count: int, *, group: str | None = None) -> AgentSession:
    session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo", group_id=group))
    with write_transaction():
        event_log.lock(session.stream_id)
        event_log.append(session.stream_id, [MessageDelta(message_id="m", delta="hello")] * count)
    return session


def offsets(batches: list[Batch]) -> list[list[int]]:
    return [[event.offset for event in batch.events] for batch in batches]


@pytest.mark.django_db
def test_the_gaps_of_many_streams_are_read_as_each_stream_is(owner: Caller) -> None:
    sessions = [session_with_events(owner, 6, group="together") for _ in range(3)]
    parent = sessions[0].group
    assert parent is not None
    gaps = [Gap(session.stream_id, number, 5) for number, session in enumerate(sessions)]
    gaps.append(Gap(parent.stream_id, 4, 18))
    with CaptureQueriesContext(connection) as asked:
        found = gaps_read(gaps)
    if connection.vendor == "postgresql":
        assert len(asked) == 1
    for gap in gaps:
        single = event_log.read(gap.stream_id, after=gap.after, through=gap.through, limit=100)
        (batch,) = found[gap.stream_id]
        assert [(event.offset, event.data, event.source) for event in batch.events] == [
            (event.offset, event.data, event.source) for event in single
        ]


@pytest.mark.django_db
def test_a_hole_in_a_log_separates_two_batches(owner: Caller) -> None:
    session = session_with_events(owner, 6)
    Event.objects.filter(stream_id=session.stream_id, offset=3).delete()
    found = gaps_read([Gap(session.stream_id, 0, 6)])
    assert offsets(found[session.stream_id]) == [[1, 2], [4, 5, 6]]


@pytest.mark.django_db
@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite reads stream by stream, each up to its own limit."
)
def test_a_read_of_many_streams_ends_at_its_size(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [session_with_events(owner, 6) for _ in range(2)]
    (size,) = {len(event.data) for event in event_log.read(sessions[0].stream_id, after=0, limit=1)}
    monkeypatch.setattr(gaps_module, "BYTES", 8 * size)
    found = gaps_read([Gap(session.stream_id, 0, 6) for session in sessions])
    assert [offsets(found[session.stream_id]) for session in sessions] == [[[1, 2, 3, 4, 5, 6]], [[1, 2]]]
