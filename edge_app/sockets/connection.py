"""One open socket: it reads frames, may follow a stream, and has one writer.

Whichever of the three ends first decides the close code. Requests that are under way then are finished and answered
before the close; a client that has gone cancels none of them. A face says what a frame and an event mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from django.conf import settings

from core_app.errors import GatewayError, Unavailable
from edge_app.http.asgi import ClientGone, Receive, Send
from edge_app.http.errors import internal_error
from edge_app.sockets.close_codes import REASONS, CloseCode
from edge_app.sockets.order import RepliesFirst
from edge_app.sockets.outbox import Outbox
from events_app.batches import StoredEvent
from events_app.follower import Follower, FollowerReleased, FollowerSlow
from tenants_app.authentication import aprincipal_recheck
from tenants_app.principal import Principal

MAX_FRAME_BYTES = 1024 * 1024
"""Default frame limit; the server itself takes more, for protocols that allow it."""


class Connection(ABC):
    """An accepted socket. `scope` is what the key must be allowed for as long as the socket is open.

    `follower` is None for a socket that follows nothing by itself; such a socket sends events through the outbox.
    """

    max_frame_bytes: int = MAX_FRAME_BYTES

    def __init__(
        self, *, principal: Principal, scope: str | None, follower: Follower | None, receive: Receive, send: Send
    ) -> None:
        self.principal = principal
        self.outbox = Outbox(send, self._fail_writing)
        self.order = RepliesFirst()
        self._required_scope = scope
        self._follower = follower
        self._receive = receive
        self._send = send
        self._due = asyncio.get_running_loop().time() + settings.GATEWAY_HEARTBEAT_SECONDS
        self._open = asyncio.timeout(None)
        self._code: CloseCode | None = None
        self._ended = False

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    async def take(self, raw: bytes) -> None:
        """Handles one frame: answers it through the outbox or dispatches it. It must not wait for a handler."""

    @abstractmethod
    async def drain(self) -> None:
        """Waits until the requests that are under way have been answered."""

    def encode_events(self, events: Sequence[StoredEvent], missing: tuple[int, int] | None) -> list[str]:
        """Returns the frames for events of the followed stream. `missing` is the range of offsets before them that are
        no longer kept."""
        return []

    def closes(self, event: StoredEvent) -> bool:
        """True for the event after which the socket is closed (SESSION_CLOSED)."""
        return False

    # -- life ----------------------------------------------------------------------------------------

    async def run(self, first: Sequence[str] = ()) -> None:
        """Serves the socket until it ends; `first` are the frames that precede any event."""
        self.outbox.put_events(first)
        # A socket that follows nothing still rechecks its key.
        following = asyncio.create_task(self._until_end(self._follow if self._follower else self._watch_key))
        try:
            with contextlib.suppress(TimeoutError):
                async with self._open:
                    await self._until_end(self._read)
            following.cancel()
            await asyncio.wait([following])
            await self._finish(self._code)
            self.outbox.cancel()
            await self.outbox.flush()
            if self._code is not None:
                await self._close(self._code)
        finally:
            following.cancel()
            self.outbox.cancel()

    def end(self, code: CloseCode | None) -> None:
        """Ends the socket; None: the client has gone. The first reason counts."""
        if not self._ended:
            self._code, self._ended = code, True
            # The socket's own task reads frames; this is how other tasks interrupt it.
            self._open.reschedule(asyncio.get_running_loop().time())

    async def recheck(self) -> Principal:
        """Checks the key again; raises Unauthorized or Forbidden when it is no longer good."""
        self.principal = await aprincipal_recheck(self.principal)
        if self._required_scope is not None:
            self.principal.require(self._required_scope)
        return self.principal

    async def _until_end(self, work: Callable[[], Awaitable[CloseCode | None]]) -> None:
        try:
            self.end(await work())
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            unavailable = isinstance(internal_error(cause), Unavailable)
            self.end(CloseCode.RESTART if unavailable else CloseCode.FAILED)

    def _fail_writing(self, error: Exception) -> None:
        if isinstance(error, ClientGone):
            self.end(None)
        elif isinstance(error, TimeoutError):
            self.end(CloseCode.SLOW_CONSUMER)
        else:
            internal_error(error)
            self.end(CloseCode.FAILED)

    async def _finish(self, code: CloseCode | None) -> None:
        """Lets requests end, and the outbox empty, while the client still reads."""
        await self.drain()
        if code not in (None, CloseCode.SLOW_CONSUMER):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                    await self.outbox.flush()

    async def _close(self, code: CloseCode) -> None:
        """Closes with the code. A client that reads nothing is not waited for: the server cuts the connection."""
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                await self._send(close_message(code))

    # -- out -----------------------------------------------------------------------------------------

    async def _follow(self) -> CloseCode | None:
        assert self._follower is not None
        try:
            while await self._step(self._follower):
                pass
        except FollowerReleased:
            return CloseCode.RESTART
        except FollowerSlow:
            return CloseCode.SLOW_CONSUMER
        except GatewayError:
            return CloseCode.UNAUTHORIZED
        return CloseCode.SESSION_CLOSED

    async def _step(self, follower: Follower) -> bool:
        """Sends the next events, and rechecks the key at every heartbeat, on busy streams too; False at the end."""
        now = asyncio.get_running_loop().time()
        if now >= self._due:
            self._due = now + settings.GATEWAY_HEARTBEAT_SECONDS
            await self.recheck()
        before = follower.position
        events = await follower.next(self._due - now)
        if not events:
            return True
        await self.outbox.flush()
        first = events[0].offset
        frames = self.encode_events(events, (before + 1, first - 1) if first > before + 1 else None)
        await self.order.before_events()
        self.outbox.put_events(frames)
        return not any(self.closes(event) for event in events)

    async def _watch_key(self) -> CloseCode | None:
        try:
            while True:
                await asyncio.sleep(settings.GATEWAY_HEARTBEAT_SECONDS)
                await self.recheck()
        except GatewayError:
            return CloseCode.UNAUTHORIZED

    # -- in ------------------------------------------------------------------------------------------

    async def _read(self) -> CloseCode | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            raw = frame_bytes(message, self.max_frame_bytes)
            if raw is None:
                return CloseCode.PROTOCOL_VIOLATION
            await self.take(raw)
            if self.outbox.crowded:
                await self.outbox.flush()


def frame_bytes(message: Mapping[str, Any], limit: int) -> bytes | None:
    """The bytes of a received frame, text or binary alike; None when there are more than `limit`."""
    text = message.get("text")
    if text is not None and len(text) > limit:
        return None
    raw: bytes = message.get("bytes") or b"" if text is None else text.encode("utf-8", "surrogatepass")
    return raw if len(raw) <= limit else None


def close_message(code: CloseCode) -> dict[str, Any]:
    """The ASGI message that closes a socket with a code and its reason."""
    return {"type": "websocket.close", "code": int(code), "reason": REASONS[code]}
