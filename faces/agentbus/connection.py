"""A connection of the Agentbus protocol: the handshake, its requests, and the sessions that it sees.

The challenge comes first, then the client's `connect`. A task follows all sessions of the connection and puts their
events into the outbox behind the replies that caused them. Events are numbered per connection from 1, without a gap.
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

from core_app import database, jsontext
from core_app.addresses import client_group
from core_app.errors import Conflict, GatewayError, Unauthorized
from core_app.ids import new_id
from core_app.shares import Claim
from core_app.timeouts import cancel_tasks
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.errors import internal_error
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.connection import MAX_FRAME_BYTES, Connection
from edge_app.sockets.consumer import set_frame_limit
from events_app.follower import (
    FollowerReleased,
    FollowerReset,
    FollowerSlow,
    MultiFollower,
    StreamEvents,
    TooManyStreams,
)
from events_app.positions import dropped_range
from faces.agentbus.clients import CLIENTS
from faces.agentbus.close_codes import AgentbusClose
from faces.agentbus.frames import (
    PARSE_ON_LOOP_BYTES,
    ClientEvent,
    FrameRefused,
    encode_event,
    parse_frame,
)
from faces.agentbus.methods.system import capabilities, server_info
from faces.agentbus.positions import FollowFrom, sessions_to_resume
from faces.agentbus.requests import Requests
from faces.agentbus.session_view import SessionView, Shown
from faces.agentbus.sign_in import ConnectParameters, SignedIn, sign_in, timestamp_literal
from tenants_app.authentication import KeyWatch, aprincipal_recheck
from tenants_app.principal import ADMIN, Principal
from tenants_app.services.connection_token import aconnection_token_check

HANDSHAKE_SECONDS = 10.0
MAX_CONNECTS = 5
"""Failed `connect`s after which the connection is closed."""

RECONNECT_SECONDS = 1.0
"""How long a client should wait before it comes back to a server that restarts."""

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
        super().__init__(receive, send)
        self.scope = scope
        self.nonce = secrets.token_urlsafe(24)
        self.signed_in: SignedIn | None = None
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
        self._sessions = MultiFollower()
        self._views: dict[int, SessionView] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._resumed: Mapping[str, int | str] = {}
        self._resuming: asyncio.Task[None] | None = None
        self._leaving = False
        self._key: KeyWatch | None = None

    # -- life ----------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serves the socket until it ends."""
        self.put_event("connect.challenge", jsontext.encode_text({"nonce": self.nonce, "timestamp": time.time()}))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_SECONDS, self.end, AgentbusClose.HANDSHAKE_DEADLINE)
        try:
            with CLIENTS.track(self):
                async with self._sessions:
                    await self.run()
        finally:
            self._timer.cancel()
            await cancel_tasks(*(task for task in (self._watching, self._resuming) if task is not None))
            if self.signed_in is not None:
                await CLIENTS.leave(self)

    def heartbeat_seconds(self) -> float:
        seconds: float = settings.GATEWAY_RPC_HEARTBEAT_SECONDS
        return min(seconds, settings.GATEWAY_CONNECTION_TIMEOUT)

    async def heartbeat(self) -> None:
        if time.monotonic() - self._last_frame >= settings.GATEWAY_CONNECTION_TIMEOUT:
            self.end(AgentbusClose.IDLE)
            return
        if self.signed_in is not None:
            await self.recheck()
            uptime = time.time() - CLIENTS.started_at
            self.put_event("heartbeat", jsontext.encode_text({"timestamp": time.time(), "uptime": uptime}))

    async def drain(self) -> None:
        await self._requests.drain()

    async def recheck(self) -> Principal:
        """Checks the credential and the session token again; raises Unauthorized."""
        signed_in = self.signed_in
        if signed_in is None:
            raise Unauthorized("The first request is 'connect'.")
        await aconnection_token_check(signed_in.token_id)
        principal = await aprincipal_recheck(signed_in.principal)
        if self.signed_in is signed_in:
            self.signed_in = replace(signed_in, principal=principal)
        return principal

    # -- frames --------------------------------------------------------------------------------------

    async def take(self, frame: bytes, *, binary: bool) -> None:
        self._last_frame = time.monotonic()
        CLIENTS.requests += 1
        try:
            if binary:
                raise FrameRefused("A frame is text, not binary.")
            large = len(frame) > PARSE_ON_LOOP_BYTES
            parsed = await asyncio.to_thread(parse_frame, frame) if large else parse_frame(frame)
        except FrameRefused as refused:
            self.outbox.put_reply(refused.reply)
            return
        if isinstance(parsed, ClientEvent):
            if parsed.event != "heartbeat" and self.signed_in is not None:
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
        if self.signed_in is not None or self._connecting:
            raise Conflict("This connection has signed in already.")
        self._connecting = True
        try:
            signed_in = await sign_in(wanted, scope=self.scope, nonce=self.nonce)
            self.client_id = wanted.client_id
            self.capabilities = frozenset(wanted.capabilities)
            self._about = {
                "client_id": wanted.client_id,
                "client_name": wanted.client_name,
                "platform": wanted.platform,
                "version": wanted.version,
                "capabilities": sorted(self.capabilities),
                "connected_at": time.time(),
            }
            self._resumed = dict(wanted.last_seq or {})
            self.signed_in = signed_in
            try:
                await CLIENTS.enter(self)
            except GatewayError:
                self.signed_in = None
                self.end(CloseCode.TOO_MANY)
                raise
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
        return self._welcome(signed_in)

    def follow_reply(self, method: str) -> None:
        """Does what follows the reply to a request: a client resumes its sessions, or ends the connection."""
        if method == "connect" and self._resumed:
            self._resuming = asyncio.create_task(self._resume(), name="agentbus-resume")
        if self._leaving:
            self.end(AgentbusClose.NORMAL)

    def disconnect_after_reply(self) -> None:
        """Closes the connection once the reply to the present request is on its way."""
        self._leaving = True

    async def _resume(self) -> None:
        try:
            assert self.signed_in is not None
            principal = self.signed_in.principal
            claim = Claim(principal.tenant_id)
            found, gone = await database.run_action(claim, sessions_to_resume, principal, self._resumed)
            for public_id, missing in gone.items():
                self._put_error(missing, session_id=public_id)
            for start in found:
                await self.follow(start, conversation=True, native=True)
        except GatewayError as error:
            self._put_error(error)
            if error.retryable:
                # Its client was told that it resumes, and would wait for events that nobody sends.
                self.end(CloseCode.RESTART)
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            internal_error(cause)
            self.end(CloseCode.FAILED)

    def _put_error(self, error: GatewayError, **about: str) -> None:
        self.put_event("chat.error", jsontext.encode_text({**about, "code": error.code, "message": error.message}))

    def _welcome(self, signed_in: SignedIn) -> Mapping[str, Any]:
        return {
            "server_info": server_info(),
            "capabilities": capabilities(),
            "policy": {
                "heartbeat_interval": settings.GATEWAY_RPC_HEARTBEAT_SECONDS,
                "connection_timeout": settings.GATEWAY_CONNECTION_TIMEOUT,
                "max_connections": settings.GATEWAY_MAX_CONNECTIONS,
            },
            "auth_info": {
                "session_id": signed_in.token,
                "user_id": signed_in.principal.key_name,
                "method": signed_in.method,
                "scopes": sorted(signed_in.principal.scopes),
                "expires_at": signed_in.expires_at,
            },
        }

    # -- as a member of the tenant's clients ---------------------------------------------------------

    @property
    def address(self) -> str:
        """The client's address, as limits count it."""
        return client_group(str((self.scope.get("client") or ("",))[0]))

    @property
    def tenant_id(self) -> int:
        """The tenant of the caller; 0 before it has signed in."""
        return 0 if self.signed_in is None else self.signed_in.principal.tenant_id

    def describe(self) -> Mapping[str, Any]:
        """Returns the client as `presence.list` and GET /api/v1/clients show it."""
        idle = time.monotonic() - self._last_frame
        return {**self._about, "last_activity": time.time() - idle, "state": "connected"}

    # -- sessions ------------------------------------------------------------------------------------

    async def follow(self, start: FollowFrom, *, conversation: bool = False, native: bool = False) -> None:
        """Shows the events of a session from a position on: as a conversation, natively, or both. A session that is
        followed already keeps its position. Raises Conflict when the connection follows too many."""
        view = self._views.get(start.stream_id)
        if view is None:
            view = self._views[start.stream_id] = SessionView(start.session_id)
            self._switch_on(view, conversation, native)
            if start.dropped is not None:
                self._put_all(view.show_dropped(start.start, start.dropped))
            try:
                await self._sessions.add(start.stream_id, after=start.start, generations=start.here.generations)
            except TooManyStreams as error:
                self._views.pop(start.stream_id, None)
                raise Conflict(f"A connection follows at most {error.args[0]} sessions.") from None
            if self._watching is None:
                self._watching = asyncio.create_task(self._watch(), name="agentbus-sessions")
        else:
            self._switch_on(view, conversation, native)

    def unfollow(self, stream_id: int) -> None:
        """Shows nothing of the session any more."""
        if self._views.pop(stream_id, None) is not None:
            self._sessions.remove(stream_id)

    @staticmethod
    def _switch_on(view: SessionView, conversation: bool, native: bool) -> None:
        view.conversation |= conversation
        view.native |= native

    async def _watch(self) -> None:
        try:
            while True:
                try:
                    found = await self._sessions.next()
                except (FollowerReleased, FollowerSlow) as ended:
                    if ended.stream_id is None:
                        slow = isinstance(ended, FollowerSlow)
                        self.end(CloseCode.SLOW_CONSUMER if slow else CloseCode.RESTART)
                        return
                    view = self._views.pop(ended.stream_id, None)
                    if isinstance(ended, FollowerSlow):
                        self.end(CloseCode.SLOW_CONSUMER)
                        return
                    if isinstance(ended, FollowerReset):
                        # Its runs may be lost, too: the client has to look at everything anew.
                        if view is not None:
                            self._put_all(view.show_dropped(ended.after, ended.dropped))
                        self.end(CloseCode.RESTART)
                        return
                    continue
                if found is not None:
                    await self._show(found)
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            internal_error(cause)
            self.end(CloseCode.FAILED)

    async def _show(self, found: StreamEvents) -> None:
        view = self._views.get(found.stream_id)
        if view is None:
            return
        shown: list[Shown] = []
        if found.missing is not None:
            first, last = found.missing
            shown.extend(view.show_dropped(last, dropped_range(first, last)))
        for event in found.events:
            shown.extend(view.show(event))
        await self.outbox.flush()
        if await self._key_is_good():
            await self.order.before_events()
            self._put_all(shown)

    async def _key_is_good(self) -> bool:
        """Asks before each batch of events; ends the connection when the credential is no longer good."""
        if self._key is None:
            if self.signed_in is None:
                return False
            self._key = KeyWatch(self.signed_in.principal, None)
        try:
            if not self._key.fresh:
                await self._key.check()
        except GatewayError:
            self.end(self.unauthorized)
            return False
        return True

    def _put_all(self, shown: Iterable[Shown]) -> None:
        frames = []
        for event, payload in shown:
            self._seq += 1
            frames.append(encode_event(event, payload, self._seq))
        self.outbox.put_events(frames)
