"""The connection: an accepted socket that reads frames, may follow a stream, and has one writer.

Reading, following or writing ends first and decides the close code. Requests that are under way then are finished and
answered before the close; a client that has gone cancels none of them. A face says what a frame and an event mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from django.conf import settings

from core_app.errors import GatewayError, Unavailable
from edge_app.http.asgi import ClientGone, Message, Receive, Send
from edge_app.http.errors import internal_error
from edge_app.sockets.close_codes import CloseCode, SocketClose
from edge_app.sockets.order import RepliesFirst
from edge_app.sockets.outbox import Frame, Outbox, OutboxFull, SendNow
from events_app.batches import StoredEvent
from events_app.follower import Follower, FollowerReleased, FollowerReset, FollowerSlow, Missing

MAX_FRAME_BYTES = 1024 * 1024
"""Default frame limit; the server itself takes more, for protocols that allow it."""


class Connection(ABC):
    """An accepted socket; belongs to its loop. A face implements the hooks; `run` serves the socket.

    `follower` is the stream whose events the client gets. Without one, a face puts its events into the outbox itself.
    `send_now` is the server's (`consumer.send_now_of`), where it has one.
    """

    __slots__ = ("_close_code", "_ended", "_follower", "_reading", "_receive", "_send", "order", "outbox")

    max_frame_bytes: int = MAX_FRAME_BYTES
    frame_too_large: SocketClose = CloseCode.PROTOCOL_VIOLATION
    unauthorized: SocketClose = CloseCode.UNAUTHORIZED

    def __init__(
        self, receive: Receive, send: Send, *, follower: Follower | None = None, send_now: SendNow | None = None
    ) -> None:
        self.outbox = Outbox(send, self._fail_writing, send_now=send_now)
        self.order = RepliesFirst()
        self._receive = receive
        self._send = send
        self._follower = follower
        self._reading = asyncio.timeout(None)
        self._close_code: SocketClose | None = None
        self._ended = False

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    async def take(self, frame: bytes, *, binary: bool) -> None:
        """Handles a frame: puts its reply into the outbox, or dispatches it. It must not wait for a handler, because no
        frame is read meanwhile. A text frame comes as UTF-8."""

    @abstractmethod
    async def drain(self) -> None:
        """Waits until the requests that are under way have been answered; called when the socket has ended, before it
        is closed. A face ends what waits for the client here (`PeerCalls.close`)."""

    @abstractmethod
    async def heartbeat(self) -> None:
        """Does what is due every `heartbeat_seconds`: checks the credential again, and may put in a frame or `end` an
        idle socket. A GatewayError closes the socket (`unauthorized`)."""

    async def before_events(self, events: Sequence[StoredEvent]) -> None:
        """Called before `events` of the followed stream are sent; a GatewayError closes the socket (`unauthorized`)."""
        return

    def heartbeat_seconds(self) -> float:
        """Returns the pause between heartbeats."""
        seconds: float = settings.GATEWAY_HEARTBEAT_SECONDS
        return seconds

    def encode_events(self, events: Sequence[StoredEvent], missing: Missing | None) -> Sequence[Frame]:
        """Returns the frames of events of the followed stream. `missing` is the range before them that is no longer
        kept."""
        raise NotImplementedError("A connection with a follower encodes its events.")

    def encode_reset(self, reset: FollowerReset) -> Sequence[Frame]:
        """Returns the frames that tell the client that events it has seen are lost; then it has to reconnect. Without
        one it is told when it resumes."""
        return ()

    def close_after(self, events: Sequence[StoredEvent]) -> SocketClose | None:
        """Returns the code with which the socket is closed after these events; None when it stays open."""
        return None

    # -- life ----------------------------------------------------------------------------------------

    async def run(self, first: Sequence[Frame] = ()) -> None:
        """Serves the socket until it ends; `first` are the frames that precede any event."""
        self.outbox.put_events(first)
        background = asyncio.create_task(
            self._run_until_end(Connection._beat if self._follower is None else Connection._follow)
        )
        try:
            with contextlib.suppress(TimeoutError):
                async with self._reading:
                    await self._run_until_end(Connection._read)
            background.cancel()
            await asyncio.wait([background])
            await self._finish(self._close_code)
            self.outbox.cancel()
            await self.outbox.flush()
            if self._close_code is not None:
                await self._close(self._close_code)
        finally:
            self._ended = True
            background.cancel()
            self.outbox.cancel()

    def end(self, code: SocketClose | None) -> None:
        """Ends the socket; None: the client has gone. The first reason counts."""
        if not self._ended:
            self._close_code, self._ended = code, True
            # The socket's own task reads frames; this is how other tasks interrupt it.
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def _run_until_end(self, work: Callable[[Connection], Awaitable[SocketClose | None]]) -> None:
        """Ends the socket as `work` does. It is a plain function, because an idle socket would keep a bound method."""
        try:
            self.end(await work(self))
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            unavailable = isinstance(internal_error(cause), Unavailable)
            self.end(CloseCode.RESTART if unavailable else CloseCode.FAILED)

    def _fail_writing(self, error: Exception) -> None:
        if isinstance(error, ClientGone):
            self.end(None)
        elif isinstance(error, TimeoutError | OutboxFull):
            self.end(CloseCode.SLOW_CONSUMER)
        else:
            internal_error(error)
            self.end(CloseCode.FAILED)

    async def _finish(self, code: SocketClose | None) -> None:
        """Lets requests end, and the outbox empty, while the client still reads."""
        await self.drain()
        if code not in (None, CloseCode.SLOW_CONSUMER):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                    await self.outbox.flush()

    async def _close(self, code: SocketClose) -> None:
        """Closes with the code. A client that reads nothing is not waited for: the server cuts the connection."""
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                await self._send(close_message(code))

    # -- out -----------------------------------------------------------------------------------------

    async def _follow(self) -> SocketClose:
        """Sends the events of the stream; the heartbeat comes on time on busy streams too."""
        follower = self._follower
        assert follower is not None
        clock = asyncio.get_running_loop().time
        due = clock() + self.heartbeat_seconds()
        try:
            while True:
                now = clock()
                if now >= due:
                    due = now + self.heartbeat_seconds()
                    await self.heartbeat()
                events = await follower.next(due - now)
                if not events:
                    continue
                await self.outbox.flush()
                await self.before_events(events)
                frames = self.encode_events(events, follower.missing)
                await self.order.before_events()
                self.outbox.put_events(frames)
                if (code := self.close_after(events)) is not None:
                    return code
        except FollowerReset as reset:
            self.outbox.put_events(self.encode_reset(reset))
            return CloseCode.RESTART
        except FollowerReleased:
            return CloseCode.RESTART
        except FollowerSlow:
            return CloseCode.SLOW_CONSUMER
        except GatewayError:
            return self.unauthorized

    async def _beat(self) -> SocketClose:
        """Does the heartbeats of a connection that follows nothing."""
        try:
            while True:
                await asyncio.sleep(self.heartbeat_seconds())
                await self.heartbeat()
        except GatewayError:
            return self.unauthorized

    # -- in ------------------------------------------------------------------------------------------

    async def _read(self) -> SocketClose | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            frame = frame_bytes(message, self.max_frame_bytes)
            if frame is None:
                return self.frame_too_large
            is_binary = message.get("text") is None
            del message
            await self.take(frame, binary=is_binary)
            del frame  # an idle socket would keep its last frame, of 25 MiB perhaps
            if self.outbox.crowded:
                await self.outbox.flush()


def frame_bytes(message: Mapping[str, Any], limit: int) -> bytes | None:
    """Returns the bytes of a received frame, text or binary alike; None when there are more than `limit`."""
    text = message.get("text")
    if text is not None and len(text) > limit:
        return None
    frame: bytes = message.get("bytes") or b"" if text is None else text.encode("utf-8", "surrogatepass")
    return frame if len(frame) <= limit else None


def close_message(code: SocketClose) -> Message:
    """Returns the ASGI message that closes a socket with a code and its reason."""
    return {"type": "websocket.close", "code": int(code), "reason": code.reason}
