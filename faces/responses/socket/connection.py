"""The accepted socket: it reads frames, hands them to lanes, and ends when its key, its client or its process does."""

from __future__ import annotations

import asyncio
import time

from core_app.errors import BadRequest, Forbidden, GatewayError, Unauthorized, Unavailable
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.errors import internal_error
from edge_app.key_changes import KEY_CHANGES
from edge_app.sockets.authenticated import AuthenticatedConnection
from edge_app.sockets.close_codes import SocketClose
from edge_app.sockets.frames import parse_off_loop
from faces.responses.socket.close_codes import ResponsesClose, standard_code
from faces.responses.socket.frames import ClientFrame, encode_error, parse_frame
from faces.responses.socket.lanes import Lanes
from faces.responses.socket.open_connections import RESPONSE_SOCKETS
from faces.responses.socket.responder import Responder
from responses_app.request import MAX_STORED_BYTES
from tenants_app.principal import INFERENCE, Principal

IDLE_SECONDS = 3600.0
"""A socket on which nothing is asked or answered for this long is closed."""

FLUSH_FRAMES = 32
"""Frames that are put in before their client has to take them."""


class ResponsesConnection(AuthenticatedConnection):
    """One socket."""

    max_frame_bytes = MAX_STORED_BYTES
    frame_too_large = ResponsesClose.TOO_LARGE
    required_scope = INFERENCE

    def __init__(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(principal, receive, send)
        self._request_id: str = scope["gateway.request_id"]
        self._count = self._unflushed = 0
        self._responder = Responder(self, principal.tenant_id)
        self._lanes = Lanes(principal.tenant_id, self._responder.create, self._idle)
        self._leaving = False
        self._last_frame = time.monotonic()

    async def serve(self) -> None:
        """Serves the socket until it ends."""
        KEY_CHANGES.watch(self, self.end_if_revoked)
        try:
            with RESPONSE_SOCKETS.track(self):
                await self.run()
        finally:
            KEY_CHANGES.unwatch(self)

    # -- frames --------------------------------------------------------------------------------------

    async def take(self, frame: bytes, *, binary: bool) -> None:
        self._last_frame = time.monotonic()
        lane: str | None = None
        try:
            if binary:
                raise BadRequest("A frame is text, not binary.")
            parsed = await parse_off_loop(parse_frame, frame)
            lane = parsed.stream_id
            await self._dispatch(parsed)
        except GatewayError as error:
            self.outbox.put_reply(encode_error(error, lane))

    async def _dispatch(self, frame: ClientFrame) -> None:
        if frame.type == "response.create":
            if self._leaving:
                raise Unavailable("The gateway restarts: connect again.", retry_after=1)
            self._lanes.add(frame)
        elif frame.type == "response.steer":
            self.outbox.put_reply(self._responder.steer(frame))
        else:
            raise BadRequest("'type' must be 'response.create' or 'response.steer'.", field="type")

    # -- as its responses see it ---------------------------------------------------------------------

    async def caller(self) -> Principal:
        """Returns the caller, after a check; raises GatewayError, and then the socket ends."""
        try:
            return await self.recheck()
        except (Unauthorized, Forbidden):
            self.end(self.unauthorized)
            raise

    async def put(self, frame: str) -> None:
        """Sends a frame, no faster than the client reads."""
        if self._unflushed >= FLUSH_FRAMES:
            self._unflushed = 0
            await self.outbox.flush()
        self._unflushed += 1
        self.outbox.put_events((frame,))

    def request_id(self) -> str:
        """Returns an id for one more request of the socket."""
        self._count += 1
        return f"{self._request_id}.{self._count}"

    # -- life ----------------------------------------------------------------------------------------

    async def heartbeat(self) -> None:
        await self.recheck()
        if self._lanes.busy:
            self._last_frame = time.monotonic()
        elif time.monotonic() - self._last_frame >= IDLE_SECONDS:
            self.end(ResponsesClose.IDLE)

    async def drain(self) -> None:
        await self._lanes.close()
        self._responder.close()

    def end(self, code: SocketClose | None) -> None:
        """Ends the socket, with a code that its clients know."""
        super().end(None if code is None else standard_code(code))

    def leave(self) -> None:
        """Takes no new requests, and ends once the present ones have been answered."""
        self._leaving = True
        if not self._lanes.busy:
            self.end(ResponsesClose.RESTART)

    async def end_if_revoked(self) -> None:
        """Ends the socket where its key is no longer good. Where that cannot be found out, the next heartbeat asks."""
        try:
            await self.recheck()
        except (Unauthorized, Forbidden):
            self.end(self.unauthorized)
        except Exception as cause:  # the boundary of one of many checks: it must not end the others
            internal_error(cause)

    def _idle(self) -> None:
        if self._leaving:
            # After this the last frames are still in the outbox, and are sent before the close.
            asyncio.get_running_loop().call_soon(self.end, ResponsesClose.RESTART)
