"""`GatewayClient`: the gateway's RPC socket (Agentbus), with requests, events and reconnection.

After a broken connection the client signs in with its session token and resumes every session that it sent to or
follows: handlers get each event of these sessions once. Presence and broadcasts reach only who is connected. A request
that was sent when the connection broke raises ConnectionFailed; it may have been performed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from gateway_client.errors import ConnectionFailed, RPCError, WaitTimeout
from gateway_client.rpc_sessions import SessionPositions

Handler = Callable[[Any], Awaitable[None] | None]

LONGEST_DELAY = 60.0
MOST_EVENTS = 10_000
"""Events that wait for their handlers. With more the connection is given up, and resumed when they are handled."""

MOST_BYTES = 64 * 1024 * 1024
FINAL_CODES = frozenset({1000, 1009, 4401})
UNAUTHORIZED = 4001
OVERFLOW = 4001


@dataclass(kw_only=True)
class ClientConfig:
    """The settings of a client. One way to sign in is given: `auth_token` (an API key), `password` with or without
    `username`, or `device_id` with `device_key` (the 32 bytes of an Ed25519 key, or base64 of them)."""

    url: str = "ws://localhost:4000"
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_name: str = "gateway-client"
    version: str = "1.0.0"
    platform: str = "python"
    capabilities: list[str] = field(default_factory=lambda: ["chat"])
    auth_token: str | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    device_key: str | bytes | None = None
    auto_reconnect: bool = True
    max_reconnect_attempts: int = 10
    reconnect_delay: float = 5.0
    heartbeat_interval: float = 30
    request_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class _Request:
    """A request without its response."""

    method: str
    params: dict[str, Any]
    future: asyncio.Future[Any]


class GatewayClient:
    """One client. Handlers are called one after the other, in the order of the events."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._socket: ClientConnection | None = None
        self._ready = asyncio.Event()
        self._over = True
        self._pending: dict[str, _Request] = {}
        self._handlers: dict[str, list[Handler]] = {}
        self._events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(MOST_EVENTS)
        self._positions = SessionPositions()
        self._welcome: dict[str, Any] = {}
        self._attempts = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_connected(self) -> bool:
        return self._ready.is_set()

    def get_status(self) -> dict[str, Any]:
        """Returns what the client knows without asking."""
        return {
            "connected": self.is_connected,
            "client_id": self.config.client_id,
            "server_info": self._welcome.get("server_info"),
            "policy": self._welcome.get("policy"),
            "auth_info": self._welcome.get("auth_info"),
            "reconnect_attempts": self._attempts,
            "pending_requests": len(self._pending),
        }

    async def connect(self) -> dict[str, Any]:
        """Connects and signs in; returns the response. Raises RPCError or ConnectionFailed."""
        if not self._over:
            return self._welcome
        try:
            await self._open()
        except (OSError, TimeoutError, WebSocketException) as error:
            await self._drop()
            raise ConnectionFailed(f"{self.config.url} was not reached: {error}") from error
        except RPCError:
            await self._drop()
            raise
        self._over = False
        self._tasks = [asyncio.create_task(work()) for work in (self._stay_connected, self._dispatch, self._beat)]
        return self._welcome

    async def disconnect(self) -> None:
        """Signs off and closes the connection."""
        if self._over:
            return
        if self.is_connected:
            with contextlib.suppress(RPCError, ConnectionFailed, WaitTimeout):
                await self.send_request("disconnect", timeout=5)
        self._over = True
        current = asyncio.current_task()
        others = [task for task in self._tasks if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._drop()

    async def send_request(
        self, method: str, params: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """Sends a request, once there is a connection, and returns its payload. Raises RPCError for a refusal,
        ConnectionFailed, or WaitTimeout after `request_timeout` seconds."""
        seconds = self.config.request_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                if self._over:
                    raise ConnectionFailed("The client is not connected: call 'connect' first.")
                await self._ready.wait()
                payload = await self._ask(method, params)
                if method == "chat.send":
                    await self._follow(params or {})
                return payload
        except TimeoutError as error:
            raise WaitTimeout(f"{method} was not answered within {seconds:g} s.") from error

    async def send_event(self, event: str, payload: Mapping[str, Any] | None = None) -> None:
        """Sends an event, which is not answered."""
        await self._send({"type": "event", "event": event, "payload": dict(payload or {}), "timestamp": time.time()})

    def on_event(self, event: str, handler: Handler) -> None:
        """Calls `handler` with the payload of every event of this name; `*` gets `{"event", "payload"}` of all."""
        self._handlers.setdefault(event, []).append(handler)

    def off_event(self, event: str, handler: Handler | None = None) -> None:
        """Removes a handler, or all handlers of the event."""
        kept = [each for each in self._handlers.get(event, []) if handler is not None and each != handler]
        self._handlers[event] = kept

    # -- the connection ----------------------------------------------------------------------------------

    async def _open(self) -> None:
        socket = await connect(self.config.url, max_size=MOST_BYTES, open_timeout=10, close_timeout=1, compression=None)
        self._socket = socket
        async with asyncio.timeout(self.config.request_timeout):
            challenge = _decode(await socket.recv())["payload"]
            token = self._welcome.get("auth_info", {}).get("session_id")
            try:
                await self._sign_in(socket, {"session_token": token} if token else self._credentials(challenge))
            except RPCError as error:
                if not token or error.code != UNAUTHORIZED:
                    raise
                await self._sign_in(socket, self._credentials(challenge))
        self._ready.set()

    async def _sign_in(self, socket: ClientConnection, credentials: Mapping[str, Any]) -> None:
        config = self.config
        params = {
            "client_id": config.client_id,
            "client_name": config.client_name,
            "version": config.version,
            "platform": config.platform,
            "capabilities": config.capabilities,
            **credentials,
        }
        if last_seen := self._positions.resume():
            params["last_seq"] = last_seen
        await socket.send(_encode(_request("connect", "connect", params)))
        while (frame := _decode(await socket.recv())).get("id") != "connect":
            continue
        if not frame["ok"]:
            raise _refusal(frame["error"])
        self._welcome = frame["payload"]

    def _credentials(self, challenge: Mapping[str, Any]) -> dict[str, Any]:
        config = self.config
        if config.device_id is not None and config.device_key is not None:
            moment = str(int(time.time()))
            signature = _sign(config.device_key, f"{config.device_id}:{challenge['nonce']}:{moment}")
            nonce = challenge["nonce"]
            return {"device_id": config.device_id, "nonce": nonce, "timestamp": moment, "signature": signature}
        named = {"auth_token": config.auth_token, "username": config.username, "password": config.password}
        return {name: value for name, value in named.items() if value is not None}

    async def _stay_connected(self) -> None:
        while True:
            code = await self._read()
            await self._drop()
            if code in FINAL_CODES or not self.config.auto_reconnect:
                break
            self._discard_repeated()
            if not await self._reconnect():
                break
        self._over = True
        await self._events.put(("disconnect", {"reason": "The connection is lost.", "code": code}))

    async def _reconnect(self) -> bool:
        self._attempts = 0
        while self._attempts < self.config.max_reconnect_attempts:
            longest = min(self.config.reconnect_delay * 2**self._attempts, LONGEST_DELAY)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  (spread, not secrecy)
            self._attempts += 1
            try:
                await self._open()
            except (OSError, TimeoutError, WebSocketException):
                await self._drop()
            except RPCError as error:
                await self._drop()
                if error.code == UNAUTHORIZED:
                    return False
            else:
                self._attempts = 0
                with contextlib.suppress(ConnectionFailed):
                    for session_id in self._positions.unknown():
                        await self._send(_request(uuid.uuid4().hex, "events.follow", {"session_id": session_id}))
                return True
        return False

    def _discard_repeated(self) -> None:
        """Removes events that no handler has had and that the next connection shows again: positions are those of
        events that were handed on."""
        waiting = [self._events.get_nowait() for _ in range(self._events.qsize())]
        for name, payload in waiting:
            if not self._positions.comes_again(name, payload):
                self._events.put_nowait((name, payload))

    async def _read(self) -> int | None:
        """Reads to the end of the connection; returns its close code, None without one."""
        socket = self._socket
        assert socket is not None
        try:
            async for text in socket:
                frame = _decode(text)
                if frame["type"] == "res":
                    self._settle(frame)
                elif frame["type"] == "event":
                    self._events.put_nowait((frame["event"], frame["payload"]))
        except ConnectionClosed:
            pass
        except asyncio.QueueFull:
            await socket.close(OVERFLOW)
            return None
        return socket.close_code

    async def _drop(self) -> None:
        """Closes the connection; requests without a response fail."""
        self._ready.clear()
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        pending, self._pending = self._pending, {}
        for request in pending.values():
            if not request.future.done():
                request.future.set_exception(ConnectionFailed("The connection broke before the response came."))

    # -- requests and events -----------------------------------------------------------------------------

    async def _ask(self, method: str, params: Mapping[str, Any] | None) -> Any:
        name = uuid.uuid4().hex
        request = self._pending[name] = _Request(method, dict(params or {}), asyncio.get_running_loop().create_future())
        try:
            await self._send(_request(name, method, request.params))
            frame = await request.future
        finally:
            self._pending.pop(name, None)
        if not frame["ok"]:
            raise _refusal(frame["error"])
        return frame["payload"]

    async def _send(self, frame: Mapping[str, Any]) -> None:
        if self._socket is None:
            raise ConnectionFailed("The client is not connected.")
        try:
            await self._socket.send(_encode(frame))
        except ConnectionClosed as error:
            raise ConnectionFailed("The connection broke.") from error

    def _settle(self, frame: Mapping[str, Any]) -> None:
        """Hands a response to its request. The session that it concerns is noted before the events that follow."""
        request = self._pending.pop(str(frame["id"]), None)
        if request is None or request.future.done():
            return
        session_id = _session_id(request.params)
        if frame["ok"] and request.method == "chat.send":
            self._positions.note_prompt(session_id, frame["payload"]["run_id"])
        elif frame["ok"] and request.method == "events.follow":
            since = request.params.get("since")
            self._positions.note_follow(session_id, None if since is None else str(since))
        elif frame["ok"] and request.method == "events.unfollow":
            self._positions.forget(session_id)
        request.future.set_result(frame)

    async def _follow(self, params: Mapping[str, Any]) -> None:
        """Follows a session that was sent to, because only its native events have positions. When the connection
        breaks before, the session is found by its run."""
        with contextlib.suppress(RPCError, ConnectionFailed):
            await self._ask("events.follow", {"session_id": _session_id(params)})

    async def _dispatch(self) -> None:
        while True:
            name, payload = await self._events.get()
            if self._positions.admits(name, payload):
                for handler in list(self._handlers.get(name, [])):
                    await _call(handler, payload)
                for handler in list(self._handlers.get("*", [])):
                    await _call(handler, {"event": name, "payload": payload})

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.config.heartbeat_interval)
            with contextlib.suppress(ConnectionFailed):
                await self.send_event("heartbeat", {"timestamp": time.time()})


async def _call(handler: Handler, payload: Any) -> None:
    """Calls a handler; its failure is reported to the loop, and the next events are delivered."""
    try:
        result = handler(payload)
        if inspect.isawaitable(result):
            await result
    except Exception as error:  # the caller's own code
        context = {"message": f"An event handler of the gateway client failed: {error!r}", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


def _sign(key: str | bytes, text: str) -> str:
    # Needed for devices alone, and not a dependency of the package.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    raw = base64.b64decode(key) if isinstance(key, str) else key
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(raw).sign(text.encode())).decode()


def _request(name: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "req", "id": name, "method": method, "params": params, "timestamp": time.time()}


def _session_id(params: Mapping[str, Any]) -> str:
    return str(params.get("session_id") or params.get("sessionId") or "")


def _refusal(error: Mapping[str, Any]) -> RPCError:
    return RPCError(int(error["code"]), str(error["message"]), error.get("details"))


def _encode(frame: Mapping[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def _decode(text: str | bytes) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.json.decode(text))
