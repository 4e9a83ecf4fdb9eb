"""The limits of WebSocket frames, and the turns in which they are read."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest
from uvicorn.protocols.utils import ClientDisconnected
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from edge_app.sockets.connection import MAX_FRAME_BYTES
from edge_app.sockets.consumer import FRAME_LIMIT, SEND_NOW
from gateway_project.process.connections import ConnectionTable
from gateway_project.process.socket_protocol import TURN_FRAMES, LimitedSocketProtocol, TokenBucket
from tests.process.transport import LIMITS, connect, table_of, turns

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
READ = 256_000
"""uvloop's largest read."""


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


class Application:
    """Accepts a socket and keeps what arrives; takes messages only while `open` is set."""

    def __init__(self, limits: Any = None) -> None:
        self.messages: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self._limits = limits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.messages.append(await receive())
        self.set_limit = scope["extensions"][FRAME_LIMIT]
        self.send_now = scope["extensions"][SEND_NOW]
        if self._limits is not None:
            self.set_limit(*self._limits)
        await send({"type": "websocket.accept"})
        while self.messages[-1]["type"] != "websocket.disconnect":
            await self.open.wait()
            self.messages.append(await receive())

    @property
    def received(self) -> list[Any]:
        return [
            message.get("text") or message.get("bytes")
            for message in self.messages
            if message["type"] == "websocket.receive"
        ]


class Socket:
    """An open socket of `application`."""

    def __init__(self, application: Any, table: ConnectionTable) -> None:
        _, self.transport = connect(application, table)

    @property
    def protocol(self) -> LimitedSocketProtocol:
        found = self.transport.protocol
        assert isinstance(found, LimitedSocketProtocol)
        return found

    async def open(self) -> Socket:
        self.transport.protocol.data_received(HANDSHAKE + b"\r\n")
        await turns()
        assert self.transport.statuses == [101]
        self.transport.written = b""
        return self

    async def feed(self, data: bytes, most: int = 1) -> int:
        """Feeds `data` again and again while the server reads; returns how often it took it."""
        taken = 0
        while taken < most and self.transport.reading and not self.transport.closed:
            self.protocol.data_received(data)
            taken += 1
            await turns(300)
        return taken

    def close_code(self) -> int | None:
        """Returns the code of the close frame that the server wrote."""
        client = Protocol(Side.CLIENT, state=State.OPEN)
        client.receive_data(self.transport.written)
        return client.close_rcvd.code if client.close_rcvd else None


@pytest.fixture
def table() -> ConnectionTable:
    return table_of()


@pytest.mark.parametrize(
    "flood",
    [
        frame(Opcode.PING),
        frame(Opcode.PONG),
        frame(Opcode.CONT, fin=False),
        frame(Opcode.CONT, b"ab", fin=False),
        frame(Opcode.TEXT, b""),
        frame(Opcode.TEXT, b"[]"),
        frame(Opcode.BINARY, b"a" * 65_536),
    ],
    ids=["pings", "pongs", "empty fragments", "small fragments", "empty messages", "messages", "large messages"],
)
async def test_a_flood_of_any_frames_closes_the_socket_with_1008(table: ConnectionTable, flood: bytes) -> None:
    application = Application()
    socket = await Socket(application, table).open()
    if flood[0] & 0x0F == Opcode.CONT:
        await socket.feed(frame(Opcode.TEXT, b"begin" * 300, fin=False))
    reads = await socket.feed(flood * max(1, READ // len(flood)), 100)
    assert reads < 100
    assert socket.close_code() == 1008
    assert application.messages[-1]["code"] == 1008
    assert not socket.transport.reading


async def test_a_flood_costs_no_more_frames_than_its_budget(table: ConnectionTable) -> None:
    socket = await Socket(Application(), table).open()
    await socket.feed(frame(Opcode.PING, b"x") * 40_000)
    # A slice of frames is parsed before the budget is asked.
    assert len(socket.transport.written) < 3 * (LIMITS.socket_frames // 4 + 200)


async def test_other_connections_get_the_loop_between_frames(table: ConnectionTable) -> None:
    patient = table_of(LIMITS.__class__(**{**_fields(), "socket_frames": 400_000}))
    socket = await Socket(Application(), patient).open()
    socket.protocol.data_received(frame(Opcode.PONG) * 10_000)
    assert len(socket.protocol._unread) > 6 * (10_000 - 3 * TURN_FRAMES)
    assert not socket.transport.reading
    await turns(300)
    assert (socket.protocol._unread, socket.transport.reading) == (b"", True)


async def test_messages_wait_until_the_application_takes_them(table: ConnectionTable) -> None:
    application = Application()
    socket = await Socket(application, table).open()
    application.open.clear()
    socket.protocol.data_received(frame(Opcode.TEXT, b"{}" * 100) * 50)
    await turns()
    assert socket.protocol.queue.qsize() <= 1024 // 200 + 1
    assert not socket.transport.reading
    application.open.set()
    await turns(300)
    assert (len(application.received), socket.transport.reading) == (50, True)


async def test_a_message_in_fragments_arrives_whole(table: ConnectionTable) -> None:
    application = Application()
    socket = await Socket(application, table).open()
    await socket.feed(
        frame(Opcode.TEXT, b"on", fin=False)
        + frame(Opcode.PING, b"between")
        + frame(Opcode.CONT, b"", fin=False)
        + frame(Opcode.CONT, b"e")
        + frame(Opcode.BINARY, b"t" * 70_000, fin=False)
        + frame(Opcode.CONT, b"wo")
        + frame(Opcode.TEXT, b"three")
    )
    assert application.received == ["one", b"t" * 70_000 + b"wo", "three"]
    assert type(application.received[1]) is bytes
    assert socket.transport.written == Frame(Opcode.PONG, b"between").serialize(mask=False)


async def test_large_fragments_are_not_counted(table: ConnectionTable) -> None:
    application = Application((10_000_000, 4502, "too large"))
    socket = await Socket(application, table).open()
    piece = b"a" * 4096
    fragments = frame(Opcode.BINARY, piece, fin=False) + frame(Opcode.CONT, piece, fin=False) * 298
    await socket.feed(fragments + frame(Opcode.CONT, piece))
    assert application.received == [piece * 300]


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
async def test_the_parser_does_not_keep_a_message_that_was_handed_over(table: ConnectionTable, opcode: Opcode) -> None:
    application = Application((10_000_000, 4502, "too large"))
    socket = await Socket(application, table).open()
    await socket.feed(frame(opcode, b"first"))
    sent = frame(opcode, b"a" * 2_000_000)
    tracemalloc.start()
    try:
        await socket.feed(sent)
        assert len(application.received[-1]) == 2_000_000
        application.messages.pop()
        application.messages.append({"type": "websocket.receive"})
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_fragments_take_no_more_memory_than_their_message(table: ConnectionTable) -> None:
    patient = table_of(LIMITS.__class__(**{**_fields(), "socket_frames": 400_000}))
    socket = await Socket(Application(), patient).open()
    await socket.feed(frame(Opcode.BINARY, b"a", fin=False))
    tracemalloc.start()
    try:
        await socket.feed(frame(Opcode.CONT, b"ab", fin=False) * 20_000)
        assert len(socket.protocol.frames) == 1
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "size", "code"),
    [
        (None, MAX_FRAME_BYTES, None),
        (None, MAX_FRAME_BYTES + 1, 1009),
        ((1000, 4502, "large"), 1000, None),
        ((1000, 4502, "large"), 1001, 4502),
        ((2_000_000, 4502, "large"), 1_500_000, None),
    ],
)
async def test_the_size_of_a_message_is_the_paths_own(
    table: ConnectionTable, limits: Any, size: int, code: int | None
) -> None:
    application = Application(limits)
    socket = await Socket(application, table).open()
    # The length alone is enough for a refusal.
    message = frame(Opcode.BINARY, b"a" * size)
    await socket.feed(message[:14] if code else message)
    assert socket.close_code() == code
    assert len(application.received) == (0 if code else 1)


async def test_the_size_may_change_while_the_socket_is_open(table: ConnectionTable) -> None:
    application = Application((1000, 1009, "large"))
    socket = await Socket(application, table).open()
    application.set_limit(5000, 1009, "large")
    await socket.feed(frame(Opcode.BINARY, b"a" * 5000))
    assert socket.close_code() is None
    await socket.feed(frame(Opcode.BINARY, b"a" * 5001)[:10])
    assert (len(application.received), socket.close_code()) == (1, 1009)


async def test_pongs_are_not_collected_for_a_client_that_reads_nothing(table: ConnectionTable) -> None:
    socket = await Socket(Application(), table).open()
    socket.protocol.pause_writing()
    await socket.feed(frame(Opcode.PING, b"a" * 125) * 50)
    assert socket.transport.written == b""
    socket.protocol.resume_writing()
    await socket.feed(frame(Opcode.PING, b"b"))
    assert socket.transport.written == Frame(Opcode.PONG, b"b").serialize(mask=False)


async def test_the_budget_refills(table: ConnectionTable) -> None:
    bucket = TokenBucket(240, 0.0)
    assert all(bucket.take(1, 0.0) for _ in range(60))
    assert not bucket.take(1, 0.0)
    assert bucket.take(1, 0.5)
    assert not bucket.take(1, 0.5)
    assert all(bucket.take(1, 1000.0) for _ in range(60))


async def test_a_head_that_the_handshake_refuses_is_answered_and_closed(table: ConnectionTable) -> None:
    wide = table_of(LIMITS.__class__(**{**_fields(), "head_bytes": 64_000}))
    _, transport = connect(Application(), wide)
    transport.protocol.data_received(HANDSHAKE + b"X: " + b"a" * 9000 + b"\r\n\r\n")
    await turns()
    assert (transport.statuses, transport.closed) == ([431], True)
    assert wide.open == 0


async def test_the_application_learns_at_once_that_a_refused_socket_is_over(table: ConnectionTable) -> None:
    socket = await Socket(Application(), table).open()
    await socket.feed(frame(Opcode.PING) * 2000)
    with pytest.raises(ClientDisconnected):
        await socket.protocol.send({"type": "websocket.send", "text": "late"})


async def test_a_closed_socket_still_takes_the_clients_close_frame(table: ConnectionTable) -> None:
    async def leave(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.close", "code": 4500})

    socket = await Socket(leave, table).open()
    close = frame(Opcode.CLOSE, b"\x11\x94")
    await socket.feed(frame(Opcode.TEXT, b"x" * 900) * 3 + close)
    assert socket.transport.closed


async def test_a_frame_is_sent_at_once_only_where_the_client_keeps_up(table: ConnectionTable) -> None:
    application = Application()
    socket = await Socket(application, table).open()
    assert application.send_now("first")
    assert socket.transport.written == Frame(Opcode.TEXT, b"first").serialize(mask=False)
    socket.protocol.pause_writing()
    assert not application.send_now("second")
    socket.protocol.resume_writing()
    assert application.send_now("third")
    assert b"second" not in socket.transport.written


@pytest.mark.parametrize(
    "end", [frame(Opcode.CLOSE, b"\x03\xe8"), frame(Opcode.PING) * 2000], ids=["the client leaves", "a flood"]
)
async def test_nothing_is_sent_at_once_to_a_client_that_has_gone(table: ConnectionTable, end: bytes) -> None:
    application = Application()
    socket = await Socket(application, table).open()
    await socket.feed(end)
    before = socket.transport.written
    assert not application.send_now("late")
    assert socket.transport.written == before


def _fields() -> dict[str, Any]:
    return {name: getattr(LIMITS, name) for name in LIMITS.__slots__}
