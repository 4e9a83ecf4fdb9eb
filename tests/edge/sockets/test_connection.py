"""The base of sockets: the upgrade, reading, following, writing, their order, and how each of them ends the socket."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio

from core_app.database import TransactionLost
from core_app.errors import Forbidden, NotFound, RateLimited, Unauthorized
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.open_sockets import SOCKETS
from edge_app.sockets.outbox import MAX_REPLIES
from events_app.follower import FollowerReleased, FollowerSlow
from tenants_app import authentication
from tenants_app.principal import Principal
from tests.edge.sockets.toy import WAIT, Peer, ScriptedFollower, ToyClose, serve
from tests.gateway_harness import eventually

HELLO = {"hello": 1}


class Keys:
    """The state of the caller's key: `recheck` raises `refusal`."""

    refusal: Exception | None = None
    checked = 0

    async def recheck(self, principal: Principal) -> Principal:
        self.checked += 1
        if self.refusal is not None:
            raise self.refusal
        return principal


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    keys = Keys()
    monkeypatch.setattr(authentication, "aprincipal_recheck", keys.recheck)
    return keys


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    """A client whose socket is open."""
    peer = Peer()
    async with serve(peer):
        await read_hello(peer)
        yield peer


async def read_hello(peer: Peer) -> None:
    assert await peer.frame() == HELLO


async def test_a_socket_is_accepted_before_anything_is_sent() -> None:
    peer = Peer()
    async with serve(peer):
        await read_hello(peer)
        assert [message["type"] for message in peer.sent] == ["websocket.accept", "websocket.send"]
        assert SOCKETS.count == 1
    assert SOCKETS.count == 0


@pytest.mark.parametrize("opening", [None, CloseCode.SESSION_CLOSED])
async def test_a_socket_is_shown_as_connected_from_before_its_upgrade_until_its_end(opening: CloseCode | None) -> None:
    """Its client may ask another process about itself as soon as it has connected."""
    peer = Peer(opening=opening)
    async with serve(peer) as task:
        await peer.until(lambda: len(peer.sent) == 2)
        peer.leave()
        await asyncio.wait_for(task, WAIT)
    assert peer.shown == [0, 2]


async def test_a_refused_upgrade_is_raised_to_the_gate_and_not_accepted() -> None:
    peer = Peer(opening=NotFound("There is nothing here."))
    async with serve(peer) as task:
        with pytest.raises(NotFound):
            await asyncio.wait_for(task, WAIT)
    assert peer.sent == []


async def test_a_socket_may_be_closed_right_after_it_was_accepted() -> None:
    peer = Peer(opening=CloseCode.SESSION_CLOSED)
    async with serve(peer) as task:
        await asyncio.wait_for(task, WAIT)
    assert [message["type"] for message in peer.sent] == ["websocket.accept", "websocket.close"]
    assert peer.sent[-1]["code"] == 4500


async def test_a_socket_beyond_the_ceiling_is_closed() -> None:
    @contextmanager
    def refuse() -> Iterator[None]:
        raise RateLimited("Too many sockets.")
        yield

    peer = Peer(ceiling=refuse())
    async with serve(peer):
        assert await peer.close() == (4002, "too many connections, try later")
    assert [message["type"] for message in peer.sent] == ["websocket.accept", "websocket.close"]


async def test_a_client_that_leaves_before_the_upgrade_is_sent_nothing() -> None:
    peer = Peer()
    await peer.receive()
    peer.leave()
    async with serve(peer) as task:
        await asyncio.wait_for(task, WAIT)
    assert peer.sent == []


@pytest.mark.parametrize("follows", [False, True])
async def test_a_request_before_an_immediate_disconnect_is_performed(follows: bool) -> None:
    peer = Peer(follower=ScriptedFollower() if follows else None)
    peer.ask(1, "hold", name="one")
    peer.leave(reachable=True)
    async with serve(peer):
        await peer.until_entered("one")
        peer.open_gate("one")
    gc.collect()  # a coroutine that was never awaited is reported when it is collected


async def test_frames_are_read_while_handlers_wait(peer: Peer) -> None:
    peer.ask(1, "hold", name="one")
    await peer.until_entered("one")
    peer.ask(2, "echo", text="meanwhile")
    assert await peer.frame() == {"id": 2, "result": "meanwhile"}
    peer.open_gate("one")
    assert await peer.frame() == {"id": 1, "result": "one"}


class Frame(bytes):
    """A frame that tells when it is gone."""

    gone = False

    def __del__(self) -> None:
        type(self).gone = True


async def test_an_idle_socket_does_not_keep_its_last_frame(peer: Peer) -> None:
    Frame.gone = False
    peer.put_bytes(Frame(b"last"))
    assert await peer.frame() == b"last"  # the toy protocol returns a binary frame as it came
    peer.sent.clear()
    await eventually(lambda: Frame.gone)  # the outbox's task ends


async def test_a_request_is_cancelled_by_another_frame(peer: Peer) -> None:
    peer.ask(1, "hold", name="one")
    peer.ask(None, "cancel", id=1)
    assert await peer.frame() == {"id": 1, "error": 5000, "field": None}


async def test_a_fault_of_the_parameters_names_the_field(peer: Peer) -> None:
    peer.ask(1, "echo", text=7)
    peer.ask(2, "echo")
    assert await peer.frame() == {"id": 1, "error": 4000, "field": "text"}
    assert await peer.frame() == {"id": 2, "error": 4000, "field": "text"}


async def test_requests_beyond_the_limit_are_refused_at_once(peer: Peer) -> None:
    for number in range(5):
        peer.ask(number, "hold", name="all")
    assert (await peer.frame())["id"] == 4
    peer.open_gate("all")
    assert sorted([(await peer.frame())["id"] for _ in range(4)]) == [0, 1, 2, 3]


async def test_the_client_answers_a_call_while_its_own_request_waits(peer: Peer) -> None:
    peer.ask(1, "ask", name="Are you there?")
    assert await peer.frame() == {"call": 1, "question": "Are you there?"}
    peer.put_text(json.dumps({"call": 1, "answer": "yes"}))
    assert await peer.frame() == {"id": 1, "result": "yes"}


async def test_a_call_that_the_client_never_answers_ends_with_the_socket(peer: Peer) -> None:
    peer.ask(1, "ask", name="Are you there?")
    assert (await peer.frame())["call"] == 1
    peer.put_text("x" * 1001)
    assert await peer.frame() == {"id": 1, "error": 5000, "field": None}
    assert (await peer.close())[0] == 4502


async def test_a_binary_frame_is_told_from_text_and_may_be_answered_by_one(peer: Peer) -> None:
    peer.put_bytes(b"\x00\x01")
    assert await peer.frame() == b"\x00\x01"


@pytest.mark.parametrize("frame", ["x" * 1001, "漢" * 400, b"x" * 1001])
async def test_a_frame_beyond_the_limit_closes_the_socket(peer: Peer, frame: str | bytes) -> None:
    if isinstance(frame, str):
        peer.put_text(frame)
    else:
        peer.put_bytes(frame)
    assert (await peer.close())[0] == 4502


async def test_a_reader_that_fails_closes_with_a_code_to_reconnect(peer: Peer) -> None:
    peer.put_text("no JSON")
    assert (await peer.close())[0] == 4003


async def test_a_handler_may_end_the_socket_and_is_answered_before_the_close(peer: Peer) -> None:
    peer.ask(1, "hold", name="slow")
    await peer.until_entered("slow")
    peer.ask(2, "leave")
    assert await peer.frame() == {"id": 2, "result": "bye"}
    peer.open_gate("slow")
    assert await peer.frame() == {"id": 1, "result": "slow"}
    assert await peer.close() == (4600, "goodbye")


async def test_a_client_that_leaves_cancels_no_request(peer: Peer) -> None:
    peer.ask(1, "hold", name="one")
    await peer.until_entered("one")
    peer.leave()
    peer.open_gate("one")


async def test_no_frames_are_read_from_a_client_that_takes_no_replies() -> None:
    peer = Peer(stalled=True)
    async with serve(peer):
        for number in range(100):
            peer.put_bytes(b"%d" % number)
        await peer.until(lambda: peer.unread <= 100 - MAX_REPLIES)
        assert peer.unread == 100 - MAX_REPLIES
        peer.resume()
        await read_hello(peer)
        assert [await peer.frame() for _ in range(100)] == [b"%d" % number for number in range(100)]


async def test_a_client_that_takes_nothing_is_closed(settings: Any) -> None:
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 0.0
    peer = Peer(stalled=True)
    async with serve(peer):
        assert (await peer.close())[0] == 4001


async def test_frames_that_are_put_in_faster_than_they_are_taken_close_the_socket(peer: Peer) -> None:
    peer.ask(1, "flood")
    assert (await peer.close())[0] == 4001
    assert len(peer.sent) < 5000


async def test_an_idle_socket_is_closed_at_the_heartbeat_after_its_key_was_revoked(settings: Any, keys: Keys) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.0
    keys.refusal = Unauthorized("The key was revoked.")
    async with serve(Peer()) as task:
        await asyncio.wait_for(asyncio.shield(task), WAIT)
    assert keys.checked == 1


async def test_a_busy_socket_is_closed_too_after_its_key_was_revoked(settings: Any, keys: Keys) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.0
    keys.refusal = Forbidden("The key has lost its scope.")
    peer = Peer(follower=ScriptedFollower())
    async with serve(peer):
        assert (await peer.close())[0] == 4501


async def test_a_socket_whose_key_cannot_be_checked_is_told_to_reconnect(settings: Any, keys: Keys) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.0
    keys.refusal = TransactionLost("The database does not answer.")
    peer = Peer()
    async with serve(peer):
        assert (await peer.close())[0] == 4000


async def test_events_follow_with_a_word_on_those_that_are_missing() -> None:
    follower = ScriptedFollower()
    peer = Peer(follower=follower)
    async with serve(peer):
        await read_hello(peer)
        follower.put(1, 2)
        follower.put(5)
        assert [await peer.frame() for _ in range(4)] == [{"event": 1}, {"event": 2}, {"missing": [3, 4]}, {"event": 5}]


async def test_a_reply_goes_before_the_events_that_its_request_causes() -> None:
    follower = ScriptedFollower()
    peer = Peer(follower=follower)
    async with serve(peer):
        await read_hello(peer)
        peer.ask(1, "hold", name="commit")
        await peer.until_entered("commit")
        follower.put(1)
        peer.ask(2, "echo", text="later")
        peer.open_gate("commit")
        assert [await peer.frame() for _ in range(3)] == [
            {"id": 1, "result": "commit"},
            {"event": 1},
            {"id": 2, "result": "later"},
        ]


async def test_the_socket_is_closed_after_the_event_that_says_so() -> None:
    follower = ScriptedFollower()
    peer = Peer(follower=follower)
    async with serve(peer):
        await read_hello(peer)
        follower.put(1, type_="last")
        assert await peer.frame() == {"event": 1}
        assert await peer.close() == (int(ToyClose.GOODBYE), "goodbye")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (FollowerReleased(), 4000),
        (FollowerSlow(), 4001),
        (Unauthorized("no"), 4501),
        (TransactionLost("away"), 4000),
        (RuntimeError("a bug"), 4003),
    ],
)
async def test_the_end_of_the_follower_decides_the_code(end: Exception, code: int) -> None:
    follower = ScriptedFollower()
    peer = Peer(follower=follower)
    async with serve(peer):
        await read_hello(peer)
        follower.batches.put_nowait(end)
        assert (await peer.close())[0] == code


async def test_a_drain_waits_until_every_socket_is_closed() -> None:
    follower = ScriptedFollower()
    peer = Peer(follower=follower)
    async with serve(peer):
        await read_hello(peer)
        drained = asyncio.create_task(SOCKETS.drain())
        follower.batches.put_nowait(FollowerReleased())
        assert (await peer.close())[0] == 4000
        await asyncio.wait_for(drained, WAIT)
    assert SOCKETS.count == 0


def test_the_range_of_a_close_code_says_whether_to_reconnect() -> None:
    assert {code.value for code in CloseCode if code.resumable} == {4000, 4001, 4002, 4003}
    assert not ToyClose.GOODBYE.resumable
    assert all(len(code.reason.encode()) <= 123 for code in CloseCode)
