"""The library's ASGI application behind the gate: connections belong to the key that opened them, and end.

A connection over HTTP lives in the process that opened it, from `initialize` to DELETE or until it has been unused for
GATEWAY_CONNECTION_TIMEOUT. One over WebSocket is its socket. Only the bytes are the library's: who may use which
connection, how many there are, and that none outlives its client or its key is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from acp.agent.connection import AgentSideConnection
from acp.http.asgi import AcpAsgiApp
from acp.http.protocol import CONNECTION_ID_HEADER
from acp.http.server import AcpServer
from django.conf import settings

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError, MethodNotAllowed, RateLimited
from core_app.timeouts import cancel_tasks
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Message, Receive, Scope, Send, header
from edge_app.http.body import read_body
from edge_app.http.response import deny_socket, send_error
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.connection import close_message
from edge_app.sockets.consumer import set_frame_limit
from faces.acp.agent import GatewayAgent
from tenants_app.authentication import KeyWatch
from tenants_app.principal import SESSIONS, Principal

MAX_CONNECTIONS_PER_TENANT = 1000
"""Connections over HTTP of one tenant in a process; each has two tasks and a few queues."""

_HEADER = CONNECTION_ID_HEADER.lower().encode()
_opening: ContextVar[Principal] = ContextVar("acp_principal")
"""The caller whose connection the library makes now."""

_over_socket: ContextVar[bool] = ContextVar("acp_over_socket")
"""Whether it is a socket, whose prompts the gate does not count."""


@dataclass(slots=True)
class Owned:
    """A connection over HTTP, its owner's key, and when it was last used."""

    watch: KeyWatch
    used_at: float = field(default_factory=time.monotonic)
    streams: int = 0

    @property
    def principal(self) -> Principal:
        return self.watch.principal


_METHODS = ("GET", "POST", "DELETE")


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


class AcpEndpoint:
    """`/acp` over HTTP and WebSocket."""

    def __init__(self) -> None:
        self._server = AcpServer(_make_agent)
        self._application: Any = AcpAsgiApp(self._server)
        self._owned: dict[str, Owned] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["gateway.principal"]
        _opening.set(principal)
        _over_socket.set(scope["type"] == "websocket")
        try:
            principal.require(SESSIONS)
            if scope["type"] == "websocket":
                await self._serve_socket(principal, scope, receive, send)
            elif scope["method"] == "POST":
                await self._post(principal, scope, receive, send)
            elif scope["method"] not in _METHODS:
                raise MethodNotAllowed("Messages come and go with GET, POST and DELETE.", allow=", ".join(_METHODS))
            else:
                await self._stream(principal, self._hiding_others(principal, scope), receive, send)
        except GatewayError as error:
            if scope["type"] == "websocket":
                await deny_socket(scope, send, error, close_code=int(CloseCode.UNAUTHORIZED))
            else:
                await send_error(send, error)

    async def sweep(self) -> None:
        """Ends connections over HTTP that nobody uses, or whose key is no longer good."""
        oldest = time.monotonic() - settings.GATEWAY_CONNECTION_TIMEOUT
        for connection_id, owned in tuple(self._owned.items()):
            try:
                await owned.watch.check()
            except GatewayError:
                await self._end(connection_id)
                continue
            if not owned.streams and owned.used_at < oldest:
                await self._end(connection_id)

    async def close(self) -> None:
        """Ends all connections."""
        self._owned.clear()
        await self._server.close()

    async def _end(self, connection_id: str) -> None:
        self._owned.pop(connection_id, None)
        await self._server.registry.remove(connection_id)

    async def _post(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, settings.GATEWAY_MAX_BODY_BYTES)
        message = jsontext.decode_untrusted(body)
        if not isinstance(message, dict):
            raise BadRequest("The body is one JSON-RPC message.")
        if message.get("method") == "initialize" and not _is_id(message.get("id")):
            # The library would wait for the response to what it takes for a notification.
            raise BadRequest("'initialize' is a request: its 'id' is a number or text.", field="id")
        if message.get("method") == "initialize" and self._count(principal) >= MAX_CONNECTIONS_PER_TENANT:
            raise RateLimited(f"The tenant has {MAX_CONNECTIONS_PER_TENANT} connections; end some.", retry_after=5)

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def note(sent: Message) -> None:
            if sent["type"] == "http.response.start" and sent["status"] == 200:
                made = dict(sent["headers"]).get(CONNECTION_ID_HEADER.encode())
                if made is not None:
                    self._owned[made.decode()] = Owned(KeyWatch(principal, SESSIONS))
            await send(sent)

        await self._application(self._hiding_others(principal, scope), replay, note)

    async def _stream(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves GET until the client leaves, which the library would not notice, and DELETE."""
        connection_id = (header(scope, _HEADER) or b"").decode("latin-1")
        owned = self._owned.get(connection_id)
        with FOLLOWERS.track(principal):
            serving = asyncio.create_task(self._application(scope, receive, send), name="acp-stream")
            leaving = asyncio.create_task(_left(receive), name="acp-client")
            if owned is not None:
                owned.streams += 1
            try:
                await asyncio.wait([serving, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                if owned is not None:
                    owned.streams -= 1
                    owned.used_at = time.monotonic()
                await cancel_tasks(leaving, *(() if serving.done() else (serving,)))
        if serving.done() and not serving.cancelled():
            serving.result()
        if scope["method"] == "DELETE":
            self._owned.pop(connection_id, None)

    async def _serve_socket(self, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        watch = KeyWatch(principal, SESSIONS)
        set_frame_limit(scope, settings.GATEWAY_MAX_BODY_BYTES, CloseCode.PROTOCOL_VIOLATION)
        with FOLLOWERS.track(principal):
            serving = asyncio.create_task(self._application(scope, receive, send), name="acp-socket")
            watching = asyncio.create_task(_key_lost(watch), name="acp-key")
            try:
                await asyncio.wait([serving, watching], return_when=asyncio.FIRST_COMPLETED)
                if watching.done() and not serving.done():
                    await send(close_message(CloseCode.UNAUTHORIZED))
            finally:
                await cancel_tasks(serving, watching)
        if not serving.cancelled():
            serving.result()

    def _count(self, principal: Principal) -> int:
        return sum(owned.principal.tenant_id == principal.tenant_id for owned in self._owned.values())

    def _hiding_others(self, principal: Principal, scope: Scope) -> Scope:
        """Returns the scope with a connection of another caller's replaced by one that nobody has."""
        given = header(scope, _HEADER)
        if given is None:
            return scope
        owned = self._owned.get(given.decode("latin-1"))
        if owned is not None and _same(owned.principal, principal):
            owned.used_at = time.monotonic()
            return scope
        headers = [(name, b"unknown" if name == _HEADER else value) for name, value in scope["headers"]]
        return {**scope, "headers": headers}


def _same(one: Principal, other: Principal) -> bool:
    return (one.tenant_id, one.actor) == (other.tenant_id, other.actor)


def _make_agent(connection: AgentSideConnection) -> Any:
    return GatewayAgent(_opening.get(), connection, _backlog(connection), counted=_over_socket.get())


def _backlog(connection: AgentSideConnection) -> Callable[[], int]:
    """Returns what counts the messages that the client has not taken yet: the library's queue for them has no bound."""

    def count() -> int:
        transport: Any = connection._conn._transport
        return int(transport._outbox.qsize())

    return count


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _key_lost(watch: KeyWatch) -> None:
    with contextlib.suppress(GatewayError):
        while True:
            await asyncio.sleep(settings.GATEWAY_HEARTBEAT_SECONDS)
            await watch.check()
