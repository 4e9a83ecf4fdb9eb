"""The WebSocket protocol between the server and the application: uvicorn's, with limits of its own.

uvicorn answers and keeps frames of every kind as fast as they come, and hands all messages of a read to the
application at once. Here each socket has two budgets per minute, one for frames that carry no message of their own
(pings, pongs, small fragments) and one for messages; a socket over one of them is closed with 1008. The loop is given
back after some frames, and the size limit of messages is the path's own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from edge_app.sockets.consumer import FRAME_LIMIT, SEND_NOW
from gateway_project.process.connections import CONNECTIONS, ConnectionTable

SLICE_BYTES = 1024
"""Bytes that are parsed at a time: at most 170 frames, about 2 ms, before the budgets are asked."""

TURN_SLICES = 64
TURN_FRAMES = 100
"""The work on one read before other connections get the loop."""

TURN_MESSAGES = 16
SMALL_FRAGMENT_BYTES = 1024
"""Larger fragments are bounded by the sizes of messages: libraries cut a message into 4 KiB and more."""

MESSAGE_UNIT_BYTES = 32 * 1024
LINGER_SECONDS = 1.0
"""A refused socket is closed this long after its close frame, and not read meanwhile. Closing at once would discard
the frame, too, while the client is still sending."""

CONTROL = frozenset((Opcode.PING, Opcode.PONG, Opcode.CLOSE))


BURST_SHARE = 0.25
"""A quarter of a minute's budget may be used at once: 1,500 messages, which some clients send at their start, and a
flood of which keeps the loop busy for a tenth of a second."""


class TokenBucket:
    """A budget that refills evenly, and holds BURST_SHARE of a minute's."""

    __slots__ = ("_at", "_per_minute", "_tokens")

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._tokens = per_minute * BURST_SHARE
        self._at = now

    def take(self, cost: float, now: float) -> bool:
        """Takes `cost` tokens; returns False when there are not enough."""
        tokens = self._tokens + (now - self._at) * self._per_minute / 60
        self._at = now
        self._tokens = min(tokens, self._per_minute * BURST_SHARE) - cost
        return self._tokens >= 0


class FacedServerProtocol(ServerProtocol):
    """The frames of one socket; a message over the size limit is refused with the code of the path's face."""

    too_large: tuple[int, str] = (CloseCode.MESSAGE_TOO_BIG, "")

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        if code == CloseCode.MESSAGE_TOO_BIG:
            code, reason = self.too_large
        super().fail(code, reason)


class MessageQueue:
    """The messages for the application, which one task takes: asyncio's queue without its events and its waiters, which
    an idle socket would keep and every message would pass."""

    __slots__ = ("_loop", "_messages", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, message: Any) -> None:
        """Adds a message."""
        self._messages.append(message)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def get(self) -> Any:
        """Removes and returns the oldest message; waits for one."""
        while not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()

    def qsize(self) -> int:
        """Returns how many messages wait."""
        return len(self._messages)


class LimitedSocketProtocol(WebSocketsSansIOProtocol):
    """One socket. Bytes wait in `_unread` while the application, or the loop, is busy with what came before them."""

    table: ConnectionTable = CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: FacedServerProtocol = FacedServerProtocol(max_size=self.config.ws_max_size, logger=self.logger)
        self.queue: MessageQueue = MessageQueue(self.loop)  # type: ignore[assignment]
        self._unread = b""
        self._ended = False
        self._deferred = False
        self._handed_out = 0
        self._frame_budget: TokenBucket | None = None
        self._message_budget: TokenBucket | None = None

    # -- in ------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._unread = self._unread + data if self._unread else data
        if not self._deferred and not self.read_paused:
            self._parse()

    async def receive(self) -> Any:
        """Returns the next message for the application, and reads on when it has taken the last one."""
        self._handed_out += 1
        if self._handed_out >= TURN_MESSAGES:
            # A queue that is never empty never suspends its reader.
            self._handed_out = 0
            await asyncio.sleep(0)
        message = await self.queue.get()
        if self.read_paused and not self.queue.qsize():
            self.read_paused = False
            self._parse()
            self._read_on()
        return message

    def _parse(self) -> None:
        """Parses what has arrived until a message is complete, a budget is used up or the turn is over."""
        data, position, frames = self._unread, 0, 0
        end = min(len(data), SLICE_BYTES * TURN_SLICES)
        while position < end and not self.read_paused and frames < TURN_FRAMES:
            self.conn.receive_data(data[position : position + SLICE_BYTES])
            position += SLICE_BYTES
            if self.conn.parser_exc is not None or self.conn.handshake_exc is not None:
                # uvicorn does not look at the second, and such a connection would stay open without an end.
                self.handle_parser_exception()
                return
            frames += len(self.conn.events)
            if (excess := self._excess()) is not None:
                self._refuse(excess)
                return
            self.handle_events()
            if self._ended:
                return
        self._unread = data[position:]
        if self._unread and not self.read_paused:
            self._deferred = True
            self.transport.pause_reading()
            self.loop.call_soon(self._parse_deferred)

    def _parse_deferred(self) -> None:
        self._deferred = False
        if not self._ended and not self.disconnected:
            self._parse()
            self._read_on()

    def _read_on(self) -> None:
        if not (self.read_paused or self._deferred or self._ended or self.transport.is_closing()):
            self.transport.resume_reading()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:
            # The application's task has not begun.
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[FRAME_LIMIT] = self._limit_frames
            extensions[SEND_NOW] = self._send_now

    def _limit_frames(self, largest: int, code: int, reason: str) -> None:
        self.conn.max_message_size = largest
        self.conn.too_large = code, reason

    def handle_text(self, event: Frame) -> None:
        super().handle_text(event)
        event.data = b""  # the parser keeps the last frame until the next one comes

    def handle_bytes(self, event: Frame) -> None:
        super().handle_bytes(event)
        event.data = b""

    def handle_cont(self, event: Frame) -> None:
        # One buffer: an object per fragment takes more memory than its bytes.
        if not isinstance(self.frames[0], bytearray):
            self.frames = [bytearray(self.frames[0])]  # type: ignore[list-item]
        self.frames[0] += event.data
        if event.fin:
            self.frames = [bytes(self.frames[0])]
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # A client that reads nothing misses its pongs; they are not collected for it.
            self.conn.data_to_send()

    # -- out -----------------------------------------------------------------------------------------

    def send(self, message: Any) -> Awaitable[None]:  # type: ignore[override]
        """Sends a message of the application. Not a coroutine: every event of a stream passes through."""
        if message["type"] == "websocket.close":
            return self._send_close(message)
        return super().send(message)

    def _send_now(self, text: str) -> bool:
        """Sends a text frame, unless the client does not keep up, has gone or is about to go."""
        if not self.writable.is_set() or self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            return False
        self.conn.send_text(text.encode())
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    async def _send_close(self, message: Any) -> None:
        await super().send(message)
        if self._unread and not self._ended and not self._deferred and not self.disconnected:
            # The client's own close frame may be among it.
            self._parse()

    # -- refusals ------------------------------------------------------------------------------------

    def _excess(self) -> str | None:
        """Takes the tokens of the frames that were just parsed; returns the budget that is used up."""
        now = self.loop.time()
        for event in self.conn.events:
            if not isinstance(event, Frame):
                continue
            size = len(event.data)
            if event.opcode in CONTROL or (not event.fin and size < SMALL_FRAGMENT_BYTES):
                if self._frame_budget is None:
                    self._frame_budget = TokenBucket(self.table.current_limits().socket_frames, now)
                if not self._frame_budget.take(1, now):
                    return "socket_frames"
                continue
            if self._message_budget is None:
                self._message_budget = TokenBucket(self.table.current_limits().socket_messages, now)
            if not self._message_budget.take((1 if event.fin else 0) + size / MESSAGE_UNIT_BYTES, now):
                return "socket_messages"
        return None

    def _refuse(self, budget: str) -> None:
        self.table.count(budget)
        self.conn.events_received()
        self.conn.data_to_send()
        noun = budget.removeprefix("socket_")
        self.conn.fail(CloseCode.POLICY_VIOLATION, f"too many {noun}, try later")
        self._end()

    def handle_parser_exception(self) -> None:
        """Ends a socket whose client broke the protocol, or sent more than the path or the handshake takes."""
        if isinstance(self.conn.parser_exc, PayloadTooBig):
            self.table.count("socket_size")
        self._end()

    def _end(self) -> None:
        """Sends the close frame that `conn` has ready, tells the application, and closes."""
        self._ended, self._unread = True, b""
        self.stop_keepalive()
        close = self.conn.close_sent
        code, reason = (CloseCode.ABNORMAL_CLOSURE, "") if close is None else (close.code, close.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if not self.handshake_complete:
            self.transport.close()
            return
        # The application learns from its next `send` that the client has gone.
        self.close_sent = self.disconnected = True
        self.transport.pause_reading()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
