"""Followers: whatever is cut, lost, late or slow, each sees every event once, in order, in the same bytes."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_app.engine import Completion, Finished, Leg, LegOutcome
from core_app import database
from events_app import hub as hub_module
from events_app.flusher import FLUSHER
from events_app.follower import Follower
from events_app.hub import HUB
from tests.fold import whole_log
from tests.gateway_harness import Client, Frame, GatewayHarness, eventually
from tests.scripted_engine import USAGE, Gate, ScriptedEngine, echo, gated_leg, saying_leg, stream
from tests.unruly_layer import GrouplessLayer

pytestmark = pytest.mark.django_db(transaction=True)


async def in_steps(leg: Leg, pieces: Sequence[str] = ("Es ", "war ", "einmal ", "…")) -> LegOutcome:
    """Emits every delta in a commit of its own, so that a stream can be cut between any two."""
    message_id, text = await stream(leg, [])
    for piece in pieces:
        text += piece
        await leg.emit(_delta(message_id, piece))
        await leg.drain()  # type: ignore[attr-defined]
    await leg.checkpoint(Completion(message_id, text, (), USAGE, b"{}"))
    return Finished(text)


def _delta(message_id: str, piece: str) -> Any:
    from agents_app.events import MessageDelta

    return MessageDelta(message_id=message_id, delta=piece)


def use_layer(settings: Any, name: str) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.unruly_layer.{name}"}}


def check_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the hub compare heads often, so that tests do not wait for its pauses."""
    monkeypatch.setattr(hub_module, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(hub_module, "RETRY_SECONDS", 0.01)


async def test_a_replay_cut_anywhere_goes_on_with_exactly_the_rest(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = in_steps
    session = await api.session()
    await api.run(session, "tell")
    whole = await api.log(session)
    assert len(whole) >= 9
    for cut in range(len(whole)):
        async with api.events(session, since=0) as reader:
            seen = [await reader.next() for _ in range(cut)]
        async with api.events(session, last_id=reader.last_id if cut else 0) as reader:
            assert seen + await reader.read_to_end() == whole, cut


async def test_a_live_stream_cut_anywhere_goes_on_with_exactly_the_rest(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = in_steps
    length = len(await _watch_run(api, 1))
    for cut in range(2, length):
        assert len(await _watch_run(api, cut)) == length


async def _watch_run(api: Client, cut: int) -> list[Frame]:
    """A run of a new session, watched live, with the connection cut after so many events."""
    session = await api.session()
    async with api.events(session) as reader:
        await api.prompt(session, "tell")
        seen = [await reader.next() for _ in range(cut)]
    async with api.events(session, last_id=seen[-1].id) as reader:
        frames = seen + await reader.read_to_end()
    assert frames == await api.log(session), cut
    return frames


async def test_a_stream_cut_again_and_again_is_whole(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = in_steps
    session = await api.session()
    for _ in range(3):
        await api.run(session, "tell")
    whole = await api.log(session)
    dice = random.Random(20)
    for _ in range(10):
        seen: list[Frame] = []
        while not seen or seen[-1] != whole[-1]:
            async with api.events(session, last_id=seen[-1].id if seen else 0) as reader:
                for _ in range(dice.randint(1, 7)):
                    seen.append(await reader.next())
                    # A stream that is resumed ends with its run; the next connection goes on with the others.
                    if seen[-1].event == "agent_end":
                        break
        assert seen == whole


async def test_fifty_followers_of_a_session_receive_the_same_bytes(api: Client, script: ScriptedEngine) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate, before=["a ", "b "], after=[f"{n} " for n in range(200)])
    session = await api.session()
    await api.prompt(session, "go")
    await gate.arrival()
    async with asyncio.TaskGroup() as group:
        readings = [group.create_task(_read_all(api, session)) for _ in range(50)]
        await _wait_attached(50)
        gate.open()
    first, *others = [reading.result() for reading in readings]
    assert all(other == first for other in others)
    assert b"event: agent_end" in first


async def _read_all(api: Client, session: str) -> bytes:
    async with api.events(session) as reader:
        await reader.read_to_end()
    head, _, events = reader.raw.partition(b"\n")
    assert head.startswith(b"retry: ")
    return events


async def _wait_attached(count: int) -> None:
    await eventually(lambda: HUB.follower_count >= count)


async def test_deltas_coalesce_under_load_and_lose_no_character(
    api: Client, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flusher stands still while the engine streams; the fixture compares every delta with its message."""
    free = threading.Event()
    commit = FLUSHER._commit
    monkeypatch.setattr(FLUSHER, "_commit", lambda given: (free.wait(60), commit(given))[1])
    dice = random.Random(7)
    pieces = [dice.choice(["a", "ß", "漢", "🎈", "\n", '"', "\\", "\x07", "e\u0301"]) for _ in range(5000)]

    async def flood(leg: Leg) -> LegOutcome:
        message_id, text = await stream(leg, pieces)
        free.set()
        await leg.checkpoint(Completion(message_id, text, (), USAGE, b"{}"))
        return Finished(text)

    script.behaviour = flood
    session = await api.session()
    async with api.events(session) as reader:
        await api.prompt(session, "go")
        frames = await reader.read_to_end()
    deltas = [frame.data["delta"] for frame in frames if frame.event == "message_delta"]
    assert "".join(deltas) == "".join(pieces)
    assert len(deltas) < 10


async def test_one_delta_larger_than_an_event_may_be_loses_no_character(api: Client, script: ScriptedEngine) -> None:
    text = "🎈\x01ab" * 100_000
    script.behaviour = saying_leg(text)
    session = await api.session()
    await api.run(session, "go")
    deltas = [frame.data["delta"] for frame in await api.log(session) if frame.event == "message_delta"]
    assert "".join(deltas) == text


async def test_a_delta_that_no_database_takes_is_cleaned_and_harms_nobody(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = saying_leg("nul \x00 and lone \ud800 surrogate")
    session = await api.session()
    run = await api.run(session, "go")
    assert run["status"] == "completed"
    assert run["lastMessage"]["content"] == "nul \ufffd and lone \ufffd surrogate"


@pytest.mark.parametrize("layer", ["LosingLayer", "UnrulyLayer", "RaisingLayer"])
async def test_a_channel_layer_that_misbehaves_costs_no_event(
    api: Client,
    gateway: GatewayHarness,
    script: ScriptedEngine,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    layer: str,
) -> None:
    use_layer(settings, layer)
    check_often(monkeypatch)
    await gateway.restart()
    script.behaviour = in_steps
    session = await api.session(groupId="crowd")
    async with api.events(session, follow="session") as one, api.events(session, follow="session") as two:
        for _ in range(3):
            await api.prompt(session, "tell")
        await api.delete(f"/v1/sessions/{session}")
        frames = await one.read_to_end()
        assert await two.read_to_end() == frames
    assert frames == await api.log(session)


async def test_what_one_follower_reads_hides_no_loss_from_another(
    api: Client, gateway: GatewayHarness, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last event's message is lost; a second reader comes and finds it in the log, the first must as well."""
    use_layer(settings, "LosingLayer")
    monkeypatch.setattr(hub_module, "CHECK_SECONDS", 3600)
    await gateway.restart()
    session = await api.session()
    async with api.events(session, follow="session") as first:
        await HUB.check(full=True)
        await api.poll_run(session, await api.prompt(session, "hello"))
        async with api.events(session) as second:
            await second.read_to_end()
        await HUB.check(full=True)
        await HUB.check(full=True)
        assert (await first.next_of("agent_end")).data["lastMessage"]["content"] == "hello"


async def test_a_reader_that_takes_nothing_loses_its_queue_and_no_event(
    api: Client, script: ScriptedEngine, settings: Any
) -> None:
    # Far less than the batches to come, and far more than a reader that reads is ever behind.
    settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 16 * 1024
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 600.0
    gate = Gate()

    async def many(leg: Leg) -> LegOutcome:
        await gate.pass_through()
        return await in_steps(leg, ["word "] * 120)

    script.behaviour = many
    session = await api.session()
    await api.prompt(session, "tell")
    await gate.arrival()
    async with api.events(session, stalled=True) as slow, api.events(session) as quick:
        await _wait_attached(2)
        (subscription, *_) = HUB._streams[next(iter(HUB._streams))].subscriptions
        gate.open()
        frames = await quick.read_to_end()
        assert frames[-1].event == "agent_end"
        assert subscription.stuck_since is not None
        assert not subscription.batches
        slow.resume()
        assert await slow.read_to_end() == frames


async def test_a_reader_that_takes_no_frame_in_time_is_cut_off(api: Client, settings: Any) -> None:
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 0.02
    session = await api.session()
    await api.run(session, "hello")
    async with api.events(session, stalled=True) as reader:
        await reader.end()
        assert reader.raw == b""


async def test_a_client_that_goes_leaves_nothing_behind(api: Client) -> None:
    session = await api.session()
    async with api.events(session, follow="session"):
        await _wait_attached(1)
    assert HUB.follower_count == 0
    await eventually(lambda: not HUB._streams)


async def test_a_waiter_that_is_cancelled_while_it_joins_leaves_nothing_behind(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(stream_id: int, followed: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(HUB, "_join", never)
    task = asyncio.create_task(Follower(1).__aenter__())
    await _wait_attached(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert HUB.follower_count == 0


async def test_followers_wait_for_no_layer_that_hangs(
    api: Client, gateway: GatewayHarness, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many come, and many go, while nobody can join or leave: the log has everything, and the checks find it."""
    check_often(monkeypatch)
    monkeypatch.setattr(hub_module, "JOIN_SECONDS", 0.01)
    monkeypatch.setattr(GrouplessLayer, "mood", "works")
    use_layer(settings, "GrouplessLayer")
    await gateway.restart()
    sessions = [await api.session() for _ in range(5)]
    async with api.events(sessions[0], follow="session"):  # a group that is to be left while the layer hangs
        await eventually(lambda: any(followed.joined for followed in HUB._streams.values()))
        monkeypatch.setattr(GrouplessLayer, "mood", "hangs")
    for session in sessions:
        async with api.events(session, follow="session") as first, api.events(session, follow="session") as second:
            await api.prompt(session, "hello")
            assert await first.next_of("agent_end") == await second.next_of("agent_end")


async def test_a_layer_that_comes_back_is_asked_again_for_every_group(
    api: Client,
    gateway: GatewayHarness,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_often(monkeypatch)
    monkeypatch.setattr(GrouplessLayer, "mood", "fails")
    use_layer(settings, "GrouplessLayer")
    await gateway.restart()
    sessions = [await api.session() for _ in range(3)]
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(api.events(one, follow="session")) for one in sessions]
        asked = GrouplessLayer.asked
        await eventually(lambda: GrouplessLayer.asked > asked)
        await api.prompt(sessions[0], "hello")
        await readers[0].next_of("agent_end")
        monkeypatch.setattr(GrouplessLayer, "mood", "works")
        await eventually(lambda: all(followed.joined for followed in HUB._streams.values()))
        monkeypatch.setattr(hub_module, "CHECK_SECONDS", 3600)
        repaired = HUB.repaired
        await api.prompt(sessions[1], "hello")
        await readers[1].next_of("agent_end")
        assert HUB.repaired <= repaired + 1  # a check may have been under way
    said = [record.getMessage() for record in caplog.records if "channel_join_failed" in record.getMessage()]
    assert said
    assert all("OSError: the layer is away" in line for line in said)


async def test_a_draining_server_tells_followers_to_come_back_and_they_miss_nothing(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine
) -> None:
    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    request_id = await api.prompt(session, "go")
    await gate.arrival()
    async with api.events(session) as reader:
        await reader.next_of("message_delta")
        draining = asyncio.create_task(gateway.drain())
        await reader.read_to_end()
        assert reader.comments[-1] == b": restarting, reconnect and resume"
        await draining
    await gateway.stop()
    await gateway.start()
    async with api.events(session, last_id=reader.last_id) as again:
        frames = await again.read_to_end()
    assert frames[-1].event == "agent_end"
    assert (await api.follow_run(session, request_id))["status"] == "completed"


async def test_a_leg_that_ends_while_the_server_drains_is_not_handed_over(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine
) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    request_id = await api.prompt(session, "go")
    queued = await api.prompt(session, "next")
    await gate.arrival()
    draining = asyncio.create_task(gateway.drain())
    await asyncio.sleep(0)
    gate.open()
    await draining
    await gateway.stop()
    await gateway.start()
    run = await api.follow_run(session, request_id)
    assert (run["status"], run["attempt"]) == ("completed", 1)
    assert (await api.follow_run(session, queued))["status"] == "completed"


async def test_two_hundred_sessions_stream_at_once_and_every_follower_equals_the_log(
    api: Client, script: ScriptedEngine
) -> None:
    async def chatty(leg: Leg) -> LegOutcome:
        message_id, text = await stream(leg, [])
        for number in range(20):
            text += f"{number} "
            await leg.emit(_delta(message_id, f"{number} "))
            await asyncio.sleep(0)
        await leg.checkpoint(Completion(message_id, text, (), USAGE, b"{}"))
        return Finished(text)

    script.behaviour = chatty
    sessions = [await api.session(groupId="all" if number % 2 else None) for number in range(200)]

    async def watch(session: str) -> list[Frame]:
        # Two hundred runs share the machine with whatever else it does.
        async with api.events(session, patience=180.0) as reader:
            await api.prompt(session, "go")
            return await reader.read_to_end()

    async with asyncio.TaskGroup() as group:
        tasks = {session: group.create_task(watch(session)) for session in sessions}
    for session in sessions[::10]:
        assert tasks[session].result() == await api.log(session)
    assert all(task.result()[-1].event == "agent_end" for task in tasks.values())
    grouped = await database.run(_group_log, "all")
    assert [event.offset for event in grouped] == list(range(1, len(grouped) + 1))
    wanted = sum(len(tasks[session].result()) for session in sessions[1::2])
    assert len(grouped) == wanted


def _group_log(public_id: str) -> list[Any]:
    from sessions_app.models import SessionGroup

    return whole_log(SessionGroup.objects.get(public_id=public_id).stream_id)


async def test_a_group_is_followed_in_one_stream_and_resumed(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = echo
    one, two = await api.session(groupId="pair"), await api.session(groupId="pair")
    async with api.events("", path="/v1/groups/pair/events") as live:
        await api.run(one, "first of pair")
        await api.run(two, "second of pair")
        frames = [await live.next_of("agent_end"), await live.next_of("agent_end")]
    assert [frame.data["sessionId"] for frame in frames] == [one, two]
    async with api.events("", path="/v1/groups/pair/events", since=0) as replay:
        seen = [await replay.next() for _ in range(frames[-1].id)]
    assert [frame.id for frame in seen] == list(range(1, frames[-1].id + 1))
    for session in (one, two):
        own = [(frame.event, frame.data) for frame in seen if frame.data["sessionId"] == session]
        assert own == [(frame.event, {"sessionId": session, **frame.data}) for frame in await api.log(session)]


@given(st.lists(st.tuples(st.text(max_size=5), st.booleans()), max_size=40))
def test_joined_deltas_are_the_same_text(pieces: list[tuple[str, bool]]) -> None:
    """The deltas of a message join to its text, in whatever order they are emitted and committed."""
    from events_app.leg_writer import MAX_JOINED_CHARACTERS, append_joined

    pending: list[Any] = []
    committed: list[Any] = []
    for text, commit in pieces:
        for piece in _delta("m", text).split(MAX_JOINED_CHARACTERS):
            append_joined(pending, piece)
        if commit:
            committed += pending
            pending = []
    assert "".join(event.delta for event in committed + pending) == "".join(text for text, _ in pieces)
