"""Group commit and fences: events of many legs are written together, and a bad or late one harms no other leg."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connection, transaction

from agents_app.events import MessageDelta
from core_app import database
from core_app.database import write_transaction
from events_app import lease, log
from events_app.commit import Commit, Submission
from events_app.flusher import Flusher
from events_app.lease import Fence, LeaseLost
from events_app.leg_writer import LegWriter
from events_app.models import Event, Stream
from sessions_app.events import SessionClosed, SessionUpdated
from tests.events.conftest import Holder, Leased, Rounds, lease_expire, leased_stream
from tools_app.events import ToolDetached

pytestmark = pytest.mark.django_db(transaction=True)

postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks the database, not rows")


def delta(text: str, message: str = "m") -> MessageDelta:
    return MessageDelta(message_id=message, delta=text)


def bad() -> SessionUpdated:
    """An event that cannot be encoded: a field is missing."""
    return SessionUpdated.__new__(SessionUpdated)


async def test_events_of_many_legs_are_one_commit(rounds: Rounds) -> None:
    streams = [await database.run(leased_stream) for _ in range(5)]
    writers = [rounds.writer(stream.fence, "run_1") for stream in streams]
    for writer in writers:
        await writer.emit(delta("a"))
        await writer.emit(delta("b"))
        await writer.emit(ToolDetached(tool_name="t"))
    await database.run(rounds.commit_round)
    assert (rounds.commits, rounds.committed_events) == (1, 10)
    for stream in streams:
        found = await database.run(stream.events)
        assert [(offset, type_) for offset, type_, _ in found] == [(1, "message_delta"), (2, "tool_detached")]
        assert found[0][2]["delta"] == "ab"
        assert await database.run(stream.head) == 2


async def test_deltas_of_two_messages_are_not_joined(rounds: Rounds) -> None:
    stream = await database.run(leased_stream)
    writer = rounds.writer(stream.fence, "run_1")
    for text, message in (("a", "1"), ("b", "2"), ("c", "2"), ("d", "1")):
        await writer.emit(delta(text, message))
    await database.run(rounds.commit_round)
    assert [data["delta"] for _, _, data in await database.run(stream.events)] == ["a", "bc", "d"]


async def test_one_bad_event_costs_only_its_own_stream(rounds: Rounds) -> None:
    well, ill, other = [await database.run(leased_stream) for _ in range(3)]
    writers = {stream.pk: rounds.writer(stream.fence, "run_1") for stream in (well, ill, other)}
    await writers[well.pk].emit(delta("kept"))
    await writers[ill.pk].emit(delta("lost with it"))
    await writers[ill.pk].emit(bad())
    await writers[other.pk].emit(delta("kept too"))
    await database.run(rounds.commit_round)
    await writers[well.pk].drain()
    await writers[other.pk].drain()
    with pytest.raises(AttributeError, match="changed"):
        await writers[ill.pk].drain()
    with pytest.raises(AttributeError, match="changed"):
        await writers[ill.pk].emit(delta("no more"))
    assert await database.run(well.types) == ["message_delta"]
    assert await database.run(other.types) == ["message_delta"]
    assert await database.run(ill.types) == []
    assert await database.run(ill.head) == 0


async def test_a_row_that_the_database_refuses_costs_only_its_own_stream(rounds: Rounds) -> None:
    """Offset 1 exists already: the insert of the whole group fails, and each stream is written by itself."""
    well, ill = await database.run(leased_stream), await database.run(leased_stream)
    await database.run(lambda: Event.objects.create(stream=ill.stream, offset=1, type="session_updated", data="{}"))
    writers = [rounds.writer(stream.fence, "run_1") for stream in (well, ill)]
    for writer in writers:
        await writer.emit(delta("x"))
    await database.run(rounds.commit_round)
    await writers[0].drain()
    with pytest.raises(Exception, match=r"(?i)unique"):
        await writers[1].drain()
    assert await database.run(well.head) == 1
    assert await database.run(ill.head) == 0


@pytest.mark.parametrize("how", ["expired", "taken", "released", "stale epoch", "other owner", "erased"])
async def test_whoever_has_lost_the_lease_writes_nothing(rounds: Rounds, how: str) -> None:
    stream, other = await database.run(leased_stream), await database.run(leased_stream)
    fence = await database.run(_lose_lease, stream, how)
    writer, well = rounds.writer(fence, "run_1"), rounds.writer(other.fence, "run_2")
    await writer.emit(delta("too late"))
    await well.emit(delta("in time"))
    await database.run(rounds.commit_round)
    await well.drain()
    with pytest.raises(LeaseLost):
        await writer.drain()
    with pytest.raises(LeaseLost):
        await writer.emit(delta("again"))
    assert rounds.waiting == []
    assert rounds.fenced == 1
    assert await database.run(Event.objects.filter(stream_id=stream.pk).count) == 0
    assert await database.run(other.types) == ["message_delta"]


def _lose_lease(stream: Leased, how: str) -> Fence:
    fence = stream.fence
    if how == "expired":
        lease_expire(stream)
    elif how == "taken":
        lease_expire(stream)
        assert lease.lease_claim(stream_id=stream.pk, owner="there", seconds=60)
    elif how == "released":
        assert lease.lease_release(fence=fence)
    elif how == "stale epoch":
        fence = Fence(fence.stream_id, fence.owner, fence.epoch - 1)
    elif how == "other owner":
        fence = Fence(fence.stream_id, "somebody", fence.epoch)
    else:
        Stream.objects.filter(pk=stream.pk).delete()
    return fence


@pytest.mark.parametrize("how", ["expired", "taken", "released", "stale epoch", "other owner"])
def test_a_service_with_a_lost_lease_writes_nothing(how: str) -> None:
    stream = leased_stream()
    fence = _lose_lease(stream, how)
    with pytest.raises(LeaseLost):
        _append(stream.pk, SessionClosed(), fence)
    with pytest.raises(LeaseLost), write_transaction():
        log.lock_fenced(fence)
    assert stream.events() == []
    assert stream.head() == 0


def test_an_expired_lease_is_never_revived() -> None:
    stream, alive = leased_stream(), leased_stream()
    lease_expire(stream)
    assert lease.leases_renew(fences=[stream.fence, alive.fence], seconds=60).renewed == {alive.fence}
    taken = lease.lease_claim(stream_id=stream.pk, owner="there", seconds=60)
    assert taken is not None
    assert taken.epoch == stream.fence.epoch + 1
    assert lease.leases_renew(fences=[stream.fence, taken], seconds=60).renewed == {taken}
    assert not lease.lease_release(fence=stream.fence)


def test_a_live_lease_is_claimed_by_nobody_else() -> None:
    stream = leased_stream()
    assert lease.lease_claim(stream_id=stream.pk, owner="there", seconds=60) is None
    assert lease.lease_claim(stream_id=stream.pk, owner="here", seconds=60) is None


async def test_a_group_counts_its_sessions_events_in_the_order_of_their_commits(rounds: Rounds) -> None:
    parent = await database.run(lambda: log.stream_create(kind="group"))
    one, two = [await database.run(lambda: leased_stream(parent=parent)) for _ in range(2)]
    writers = [rounds.writer(stream.fence, f"run_{stream.pk}") for stream in (one, two)]
    for writer in writers:
        await writer.emit(delta("a"))
        await writer.emit(ToolDetached(tool_name="t"))
    await database.run(rounds.commit_round)
    await database.run(_append, one.pk, SessionUpdated(changed={"title": "x"}))
    await writers[1].emit(delta("b"))
    await database.run(rounds.commit_round)
    counted = await database.run(lambda: log.read(parent.pk, after=0, limit=100))
    assert [event.offset for event in counted] == list(range(1, 7))
    for stream in (one, two):
        own = await database.run(log.read, stream.pk, after=0, limit=100)
        mine = [event for event in counted if event.source == stream.pk]
        assert [(event.type, event.data, event.run_id) for event in mine] == [
            (event.type, event.data, event.run_id) for event in own
        ]
    rows = await database.run(lambda: list(Event.objects.filter(stream_id=parent.pk).values_list("data", flat=True)))
    assert set(rows) == {None}


def _append(stream_id: int, event: Any, fence: Fence | None = None) -> None:
    with write_transaction():
        log.lock(stream_id)
        log.append(stream_id, [event], fence=fence)


def _append_and_fail(stream_id: int) -> None:
    with transaction.atomic():
        log.append(stream_id, [SessionClosed()])
        raise RuntimeError


def test_what_is_rolled_back_is_neither_counted_nor_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[Any] = []
    monkeypatch.setattr("events_app.log.HUB.publish", announced.extend)
    stream = leased_stream()
    with pytest.raises(RuntimeError):
        _append_and_fail(stream.pk)
    assert (stream.head(), stream.events(), announced) == (0, [], [])
    _append(stream.pk, SessionClosed())
    assert [(batch.first, batch.last) for batch in announced] == [(1, 1)]


async def test_an_announcement_that_fails_does_not_write_the_batch_again(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        def call_soon_threadsafe(self, *given: Any) -> None:
            raise RuntimeError("Event loop is closed")

    monkeypatch.setattr(rounds._hub, "_loop", Closed())
    stream = await database.run(leased_stream)
    writer = rounds.writer(stream.fence, "run_1")
    await writer.emit(delta("once"))
    await database.run(rounds.commit_round)
    await writer.drain()
    assert await database.run(stream.types) == ["message_delta"]


@postgresql
async def test_a_stream_that_somebody_holds_waits_for_the_next_round_and_holds_nobody_up(rounds: Rounds) -> None:
    busy, free = await database.run(leased_stream), await database.run(leased_stream)
    writers = [rounds.writer(stream.fence, "run_1") for stream in (busy, free)]
    with Holder(busy.pk) as holder:
        for writer in writers:
            await writer.emit(delta("a"))
        await database.run(rounds.commit_round)
        await writers[1].drain()
        assert await database.run(free.types) == ["message_delta"]
        assert await database.run(busy.types) == []
        assert rounds.waiting == [writers[0]]
        await writers[0].emit(delta("b"))
        holder.let_go()
    await database.run(rounds.commit_round)
    await writers[0].drain()
    assert [data["delta"] for _, _, data in await database.run(busy.events)] == ["ab"]


@postgresql
async def test_a_session_whose_group_somebody_holds_waits_too(rounds: Rounds) -> None:
    parent = await database.run(lambda: log.stream_create(kind="group"))
    stream = await database.run(lambda: leased_stream(parent=parent))
    writer = rounds.writer(stream.fence, "run_1")
    with Holder(parent.pk):
        await writer.emit(delta("a"))
        await database.run(rounds.commit_round)
        assert await database.run(stream.types) == []
    await database.run(rounds.commit_round)
    await writer.drain()
    assert await database.run(stream.types) == ["message_delta"]


async def test_a_leg_far_ahead_of_its_commits_waits_in_emit(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events_app.leg_writer.MAX_PENDING_EVENTS", 3)
    stream = await database.run(leased_stream)
    writer = rounds.writer(stream.fence, "run_1")

    async def emit_four() -> None:
        for number in range(4):
            await writer.emit(ToolDetached(tool_name=str(number)))

    task = asyncio.create_task(emit_four())
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    await database.run(rounds.commit_round)
    await asyncio.wait_for(task, 30)
    await database.run(rounds.commit_round)
    assert [data["toolName"] for _, _, data in await database.run(stream.events)] == ["0", "1", "2", "3"]


async def test_a_flusher_that_stops_has_committed_everything() -> None:
    flusher = Flusher()
    await flusher.start()
    stream = await database.run(leased_stream)
    writer = flusher.writer(stream.fence, "run_1")
    for number in range(50):
        await writer.emit(ToolDetached(tool_name=str(number)))
    await flusher.stop()
    assert await database.run(stream.head) == 50


class Pausing(Flusher):
    """A flusher that sets `paused` when it pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = threading.Event()

    def _pause(self, seconds: float) -> None:
        if seconds:
            self.paused.set()
        super()._pause(seconds)


@pytest.fixture
async def pausing_flusher(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pausing]:
    """Pauses for an hour after a commit for two legs: events that arrive in a test did not wait for the pause."""
    monkeypatch.setattr("events_app.flusher.CROWD", 2)
    monkeypatch.setattr("events_app.flusher.LONGEST_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr("events_app.flusher.LONGEST_AUDIENCE_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr("events_app.flusher.DELIVERY_SECONDS", 1e6)
    monkeypatch.setattr("events_app.flusher.PROCESSOR_SHARE", 1e-12)
    flusher = Pausing()
    await flusher.start()
    yield flusher
    await flusher.stop()


async def start_pause(flusher: Pausing) -> list[tuple[Leased, LegWriter]]:
    """Commits for two legs together, after which the flusher pauses."""
    streams = [await database.run(leased_stream) for _ in range(2)]
    legs = [(stream, flusher.writer(stream.fence, "run_1")) for stream in streams]
    with flusher._ready:  # both before the flusher looks
        for _, writer in legs:
            await writer.emit(delta("a"))
    assert await asyncio.to_thread(flusher.paused.wait, 30)
    return legs


async def test_what_a_crowd_says_meanwhile_is_joined_and_committed_once(pausing_flusher: Pausing) -> None:
    (stream, writer), (other, others) = await start_pause(pausing_flusher)
    for text in "bcd":
        await writer.emit(delta(text))
        await others.emit(delta(text))
    await writer.drain()
    assert [data["delta"] for _, _, data in await database.run(stream.events)] == ["a", "bcd"]
    assert [data["delta"] for _, _, data in await database.run(other.events)] == ["a", "bcd"]
    assert pausing_flusher.commits == 2


async def test_a_stop_ends_the_pause_and_commits_what_waits(pausing_flusher: Pausing) -> None:
    (stream, writer), _ = await start_pause(pausing_flusher)
    await writer.emit(delta("b"))
    await pausing_flusher.stop()
    assert [data["delta"] for _, _, data in await database.run(stream.events)] == ["a", "b"]


async def test_a_leg_alone_waits_for_nothing(pausing_flusher: Pausing) -> None:
    stream = await database.run(leased_stream)
    writer = pausing_flusher.writer(stream.fence, "run_1")
    for number in range(3):
        await writer.emit(delta(str(number), str(number)))
        await writer.drain()
    assert pausing_flusher.commits == 3
    assert not pausing_flusher.paused.is_set()


async def test_what_a_leg_says_to_many_followers_is_joined_too(
    pausing_flusher: Pausing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events_app.flusher.AUDIENCE", 3)
    stream = await database.run(leased_stream)
    monkeypatch.setattr(pausing_flusher._hub, "audience", lambda ids: 3 if list(ids) == [stream.pk] else 0)
    writer = pausing_flusher.writer(stream.fence, "run_1")
    await writer.emit(delta("a"))
    assert await asyncio.to_thread(pausing_flusher.paused.wait, 30)
    for text in "bcd":
        await writer.emit(delta(text))
    await writer.drain()
    assert [data["delta"] for _, _, data in await database.run(stream.events)] == ["a", "bcd"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one way to commit")
@pytest.mark.parametrize(("synchronous", "mode"), [(True, "on"), (False, "off")])
def test_streamed_events_may_be_committed_without_waiting_for_the_disk(
    transactional_db: None, settings: Any, synchronous: bool, mode: str
) -> None:
    settings.GATEWAY_SYNCHRONOUS_DELTAS = synchronous
    stream = leased_stream()

    def shown() -> str:
        cursor.execute("SHOW synchronous_commit")
        return str(cursor.fetchone()[0])

    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        with write_transaction():
            Commit([Submission(stream.fence, "run_1", [delta("text")])]).execute()
            assert shown() == mode
        # The connection's next transaction is a service's, which waits.
        assert shown() == "on"
        cursor.execute("RESET synchronous_commit")
    assert stream.head() == 1
