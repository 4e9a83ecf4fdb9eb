"""A connection of the Agentbus protocol: the handshake, its requests, and the sessions that it sees.

The challenge comes first, then the client's `connect`. Events are numbered per connection from 1, without a gap.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from django.conf import settings

from core_app import jsontext
from core_app.addresses import client_group
from core_app.errors import Conflict, Forbidden, GatewayError, Unauthorized
from core_app.ids import new_id
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.errors import internal_error
from edge_app.key_changes import KEY_CHANGES
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.connection import MAX_FRAME_BYTES, Connection
from edge_app.sockets.consumer import send_now_of, set_frame_limit
from edge_app.sockets.frames import FrameRefused, parse_off_loop
from faces.agentbus.clients import CLIENTS
from faces.agentbus.close_codes import AgentbusClose
from faces.agentbus.credential import Credential
from faces.agentbus.followed_sessions import FollowedSessions
from faces.agentbus.frames import ClientEvent, encode_event, frame_refused, parse_frame
from faces.agentbus.requests import Requests
from faces.agentbus.session_view import Shown
from faces.agentbus.sign_in import ConnectParameters, sign_in, timestamp_literal
from faces.agentbus.welcome import client_about, welcome
from tenants_app.principal import ADMIN, SESSIONS_READ, Principal

HANDSHAKE_SECONDS = 10.0
MAX_CONNECTS = 5
"""Failed `connect`s after which the connection is closed."""

RECONNECT_SECONDS = 1.0
"""The time that a client should wait before it comes back to a server that restarts."""

ADMIN_FRAME_BYTES = 25 * 1024 * 1024

UNSIGNED_FRAME_BYTES = 64 * 1024
"""A frame of somebody who has not signed in: a `connect` that resumes 200 sessions takes a quarter of it."""

logger = structlog.get_logger("gateway.agentbus")


class AgentbusConnection(Connection):
    """An accepted socket."""

    frame_too_large = AgentbusClose.MESSAGE_TOO_BIG
    unauthorized = AgentbusClose.UNAUTHORIZED
    max_frame_bytes = UNSIGNED_FRAME_BYTES

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(receive, send, send_now=send_now_of(scope))
        self.scope = scope
        self.nonce = secrets.token_urlsafe(24)
        self.credential: Credential | None = None
        self.name = new_id("cli")
        self.client_id = ""
        self.capabilities: frozenset[str] = frozenset()
        self.watches_presence = False
        self._about: Mapping[str, Any] = {}
        self._requests = Requests(self)
        self._seq = 0
        self._failed = 0
        self._connecting = False
        self._last_frame = time.monotonic()
        self.sessions = FollowedSessions(self)
        self._timer: asyncio.TimerHandle | None = None
        self._resumed: Mapping[str, int | str] = {}
        self._leaving = False

    # -- life ----------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serves the socket until it ends."""
        self.put_event("connect.challenge", jsontext.encode_text({"nonce": self.nonce, "timestamp": time.time()}))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_SECONDS, self.end, AgentbusClose.HANDSHAKE_DEADLINE)
        try:
            with CLIENTS.track(self):
                async with self.sessions:
                    await self.run()
        finally:
            self._timer.cancel()
            KEY_CHANGES.unwatch(self)
            if self.credential is not None:
                await CLIENTS.leave(self)

    def heartbeat_seconds(self) -> float:
        seconds: float = settings.GATEWAY_RPC_HEARTBEAT_SECONDS
        return min(seconds, settings.GATEWAY_CONNECTION_TIMEOUT)

    async def heartbeat(self) -> None:
        if time.monotonic() - self._last_frame >= settings.GATEWAY_CONNECTION_TIMEOUT:
            self.end(AgentbusClose.IDLE)
            return
        if self.credential is not None:
            await self.recheck()
            uptime = time.time() - CLIENTS.started_at
            self.put_event("heartbeat", jsontext.encode_text({"timestamp": time.time(), "uptime": uptime}))

    async def drain(self) -> None:
        await self._requests.drain()

    async def recheck(self) -> Principal:
        """Checks the credential and the session token again; raises Unauthorized."""
        if self.credential is None:
            raise Unauthorized("The first request is 'connect'.")
        return await self.credential.check()

    async def end_if_revoked(self) -> None:
        """Ends the connection where its credential is no longer good. Where that cannot be found out, the next
        heartbeat asks again."""
        try:
            await self.recheck()
        except (Unauthorized, Forbidden):
            self.end(self.unauthorized)
        except Exception as cause:  # the boundary of one of many checks: it must not end the others
            internal_error(cause)

    # -- frames --------------------------------------------------------------------------------------

    async def take(self, frame: bytes, *, binary: bool) -> None:
        self._last_frame = time.monotonic()
        CLIENTS.requests += 1
        try:
            if binary:
                raise frame_refused("A frame is text, not binary.")
            parsed = await parse_off_loop(parse_frame, frame)
        except FrameRefused as refused:
            self.outbox.put_reply(refused.reply)
            return
        if isinstance(parsed, ClientEvent):
            if parsed.event != "heartbeat" and self.credential is not None:
                logger.debug("client_event", event_name=parsed.event[:64], client=self.client_id)
            return
        if parsed.method == "connect":
            parsed = replace(parsed, params={**parsed.params, "timestamp_literal": timestamp_literal(frame)})
        self._requests.dispatch(parsed)

    def put_event(self, event: str, payload: str) -> None:
        """Sends an event, whose payload is JSON text."""
        self._seq += 1
        self.outbox.put_signal(encode_event(event, payload, self._seq))

    def disconnect(self, reason: str) -> None:
        """Sends the event `disconnect` and closes the connection."""
        self.put_event("disconnect", jsontext.encode_text({"reason": reason}))
        self.end(AgentbusClose.NORMAL)

    def make_room(self) -> None:
        """Closes a connection that has not signed in, for the sake of others."""
        self.end(CloseCode.TOO_MANY)

    def shut_down(self) -> None:
        """Sends the event `shutdown` and closes the connection, so that the client comes back to another process."""
        payload = {"reason": "The server is restarting.", "reconnect_after": RECONNECT_SECONDS}
        self.put_event("shutdown", jsontext.encode_text(payload))
        self.end(CloseCode.RESTART)

    # -- the handshake -------------------------------------------------------------------------------

    async def connect(self, wanted: ConnectParameters) -> Mapping[str, Any]:
        """Signs the client in and returns what `connect` is answered with."""
        if self.credential is not None or self._connecting:
            raise Conflict("This connection has signed in already.")
        self._connecting = True
        try:
            signed_in = await sign_in(wanted, scope=self.scope, nonce=self.nonce)
            self.client_id = wanted.client_id
            self.capabilities = frozenset(wanted.capabilities)
            self._about = client_about(wanted)
            self._resumed = dict(wanted.last_seq or {})
            self.credential = Credential(signed_in)
            try:
                await CLIENTS.enter(self)
            except GatewayError:
                self.credential = None
                self.end(CloseCode.TOO_MANY)
                raise
            KEY_CHANGES.watch(self, self.end_if_revoked)
            # Requests that follow at once find the answer in the cache.
            await self.recheck()
        except GatewayError:
            self._failed += 1
            if self._failed >= MAX_CONNECTS:
                self.end(AgentbusClose.UNAUTHORIZED)
            raise
        finally:
            self._connecting = False
        self.max_frame_bytes = ADMIN_FRAME_BYTES if signed_in.principal.allows(ADMIN) else MAX_FRAME_BYTES
        set_frame_limit(self.scope, self.max_frame_bytes, self.frame_too_large)
        assert self._timer is not None
        self._timer.cancel()
        return welcome(signed_in)

    def follow_reply(self, method: str) -> None:
        """Does what follows the reply to a request: a client resumes its sessions, or ends the connection."""
        if method == "connect" and self._resumed:
            self.sessions.resume(self._resumed)
        if self._leaving:
            self.end(AgentbusClose.NORMAL)

    def disconnect_after_reply(self) -> None:
        """Closes the connection once the reply to the present request is on its way."""
        self._leaving = True

    # -- as a member of the tenant's clients ---------------------------------------------------------

    @property
    def address(self) -> str:
        """The client's address, as limits count it."""
        return client_group(str((self.scope.get("client") or ("",))[0]))

    @property
    def tenant_id(self) -> int:
        """The tenant of the caller; 0 before it has signed in."""
        return 0 if self.credential is None else self.credential.principal.tenant_id

    def describe(self) -> Mapping[str, Any]:
        """Returns the client as `presence.list` and GET /api/v1/clients show it."""
        idle = time.monotonic() - self._last_frame
        return {**self._about, "last_activity": time.time() - idle, "state": "connected"}

    # -- sessions ------------------------------------------------------------------------------------

    async def key_is_good(self) -> bool:
        """Asked before each batch of events; ends the connection when the credential is no longer good, or may not read
        sessions any more."""
        try:
            if self.credential is None or not await self.credential.check_key():
                return False
            self.credential.principal.require(SESSIONS_READ)
            return True
        except GatewayError:
            self.end(self.unauthorized)
            return False

    def put_shown(self, shown: Iterable[Shown]) -> None:
        """Sends events of sessions; call the outbox's `flush` before."""
        frames = []
        for event, payload in shown:
            self._seq += 1
            frames.append(encode_event(event, payload, self._seq))
        self.outbox.put_events(frames)
