"""A small RPC protocol over the base consumer, connection and dispatcher, and a client in the same process.

A request is `{"id", "method", "params"}`, its reply `{"id", "result"}` or `{"id", "error", "field"}`. `cancel` names
the id of another request. `ask` makes the gateway call its client: `{"call": 1, "question"}`, answered by
`{"call": 1, "answer"}`. An event is `{"event": offset}`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core_app.errors import BadRequest, GatewayError, Unauthorized
from edge_app.http.asgi import ClientGone, Message, Scope
from edge_app.rpc import Dispatcher, ErrorTable, Method, PeerCalls, Request, admit_principal, struct_parser
from edge_app.sockets.authenticated import AuthenticatedConnection
from edge_app.sockets.close_codes import CloseCode, SocketClose
from edge_app.sockets.consumer import SocketConsumer
from edge_app.sockets.open_sockets import SOCKETS
from events_app.batches import StoredEvent
from events_app.follower import Follower, Missing
from tenants_app.principal import SESSIONS, Principal

WAIT = 5.0
CODES = ErrorTable({GatewayError: 5000, BadRequest: 4000, Unauthorized: 4001})


class ToyClose(SocketClose):
    """A close code of the toy protocol."""

    GOODBYE = 4600, "goodbye"


class Echo(msgspec.Struct):
    text: str


class Named(msgspec.Struct):
    name: str


async def echo(connection: ToyConnection, params: Echo) -> str:
    return params.text


async def hold(connection: ToyConnection, params: Named) -> str:
    """Waits until the test opens the gate of this name."""
    await connection.peer.pass_gate(params.name)
    return params.name


async def ask(connection: ToyConnection, params: Named) -> str:
    frame = json.dumps({"call": 1, "question": params.name})
    answer: str = await connection.calls.call("1", lambda: connection.outbox.put_events([frame]), WAIT)
    return answer


async def flood(connection: ToyConnection, params: None) -> None:
    """Puts in far more than the client takes, without waiting."""
    for number in range(5000):
        connection.outbox.put_events([json.dumps({"event": number})])


async def leave(connection: ToyConnection, params: None) -> str:
    """Ends the socket twice; the first reason counts."""
    connection.end(ToyClose.GOODBYE)
    connection.end(CloseCode.FAILED)
    return "bye"


def no_params(params: Mapping[str, Any]) -> None:
    return None


class ToyRequests(Dispatcher["ToyConnection"]):
    """The requests of one toy socket."""

    __slots__ = ("_connection",)

    limit = 4
    methods = {
        "echo": Method.on_loop(struct_parser(Echo), echo, scope=SESSIONS),
        "hold": Method.on_loop(struct_parser(Named), hold),
        "ask": Method.on_loop(struct_parser(Named), ask),
        "flood": Method.on_loop(no_params, flood),
        "leave": Method.on_loop(no_params, leave),
    }

    def __init__(self, connection: ToyConnection) -> None:
        super().__init__(connection.order)
        self._connection = connection

    async def admit(self, request: Request, method: Method[ToyConnection]) -> ToyConnection:
        await admit_principal(await self._connection.recheck(), method)
        return self._connection

    def reply(self, request: Request, result: Any) -> None:
        self._connection.outbox.put_reply(json.dumps({"id": request.id, "result": result}))

    def refuse(self, request: Request, error: GatewayError) -> None:
        frame = {"id": request.id, "error": CODES.code(error), "field": error.field}
        self._connection.outbox.put_reply(json.dumps(frame))


class ToyConnection(AuthenticatedConnection):
    """A toy socket. A binary frame comes back as it is."""

    max_frame_bytes = 1000
    required_scope = SESSIONS

    def __init__(self, peer: Peer, principal: Principal, receive: Any, send: Any, follower: Follower | None) -> None:
        super().__init__(principal, receive, send, follower=follower)
        self.peer = peer
        self.calls = PeerCalls()
        self.requests = ToyRequests(self)

    async def take(self, frame: bytes, *, binary: bool) -> None:
        if binary:
            self.outbox.put_reply(frame)
            return
        value = json.loads(frame)
        if "call" in value:
            self.calls.settle(str(value["call"]), value["answer"])
        elif value["method"] == "cancel":
            self.requests.cancel(value["params"]["id"])
        else:
            self.requests.dispatch(Request(value["method"], value["id"], value.get("params", {})))

    async def drain(self) -> None:
        self.calls.close()
        await self.requests.drain()

    def encode_events(self, events: Sequence[StoredEvent], missing: Missing | None) -> list[str]:
        frames = [] if missing is None else [json.dumps({"missing": [position.wire for position in missing]})]
        return frames + [json.dumps({"event": event.offset}) for event in events]

    def close_after(self, events: Sequence[StoredEvent]) -> SocketClose | None:
        return ToyClose.GOODBYE if events[-1].type == "last" else None


class ScriptedFollower(Follower):
    """A follower of batches that the test puts in; an exception among them is raised."""

    def __init__(self) -> None:
        super().__init__(1)
        self.batches: asyncio.Queue[Sequence[StoredEvent] | Exception] = asyncio.Queue()

    async def next(self, seconds: float | None = None) -> Sequence[StoredEvent]:
        batch = await self.batches.get()
        if isinstance(batch, Exception):
            raise batch
        self.missing = self.move_past(batch)
        return batch

    def put(self, *offsets: int, type_: str = "some") -> None:
        """Puts a batch of events in."""
        self.batches.put_nowait([StoredEvent(1, offset, type_, None, b"{}") for offset in offsets])


@dataclass
class Peer:
    """The client of one socket, and the test's hold on what is behind it.

    A `stalled` client takes no frames until `resume`. `sent` has all messages of the server as they came. `shown` has
    how many had been sent whenever the socket was shown as connected, or was no longer.
    """

    follower: ScriptedFollower | None = None
    opening: GatewayError | CloseCode | None = None
    ceiling: AbstractContextManager[None] = field(default_factory=nullcontext)
    stalled: bool = False
    broken: Exception | None = None
    sent: list[Message] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._taken: deque[Any] = deque()
        self._changed = asyncio.Event()
        self._resumed = asyncio.Event()
        self._gates: dict[str, asyncio.Event] = {}
        self.entered: list[str] = []

    # -- the server's side -----------------------------------------------------------------------------

    async def receive(self) -> Message:
        message = await self._inbox.get()
        self._changed.set()
        return message

    async def send(self, message: Message) -> None:
        if self.broken is not None:
            raise self.broken
        if self.stalled and message["type"] == "websocket.send":
            await self._resumed.wait()
        self.sent.append(message)
        if message["type"] == "websocket.send":
            self._taken.append(json.loads(message["text"]) if "text" in message else message["bytes"])
        self._changed.set()

    async def pass_gate(self, name: str) -> None:
        self.entered.append(name)
        self._changed.set()
        await self._gates.setdefault(name, asyncio.Event()).wait()

    # -- the client's side -----------------------------------------------------------------------------

    def ask(self, id_: Any, method: str, **params: Any) -> None:
        """Sends a request."""
        self.put_text(json.dumps({"id": id_, "method": method, "params": params}))

    def put_text(self, text: str) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def put_bytes(self, frame: bytes) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": frame})

    def leave(self, *, reachable: bool = False) -> None:
        """Disconnects; unless the server can still send (`reachable`), sending fails from now on."""
        if not reachable:
            self.broken = ClientGone()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

    def resume(self) -> None:
        """Takes frames from now on."""
        self._resumed.set()

    @property
    def unread(self) -> int:
        """Number of frames that the server has not read."""
        return self._inbox.qsize()

    def open_gate(self, name: str) -> None:
        self._gates.setdefault(name, asyncio.Event()).set()

    async def frame(self) -> Any:
        """Returns the next frame: JSON, or the bytes of a binary one."""
        await self.until(lambda: bool(self._taken))
        return self._taken.popleft()

    async def close(self) -> tuple[int, str]:
        """Returns code and reason of the close."""
        await self.until(lambda: bool(self.sent) and self.sent[-1]["type"] == "websocket.close")
        return self.sent[-1]["code"], self.sent[-1]["reason"]

    async def until_entered(self, *names: str) -> None:
        """Waits until these requests wait at their gates."""
        await self.until(lambda: set(names) <= set(self.entered))

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


class ToySocket(SocketConsumer[Peer]):
    """The consumer of the toy protocol."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def open(self) -> Peer:
        if isinstance(self._peer.opening, GatewayError):
            raise self._peer.opening
        return self._peer

    @asynccontextmanager
    async def presence(self, opening: Peer) -> AsyncIterator[None]:
        opening.shown.append(len(opening.sent))
        try:
            yield
        finally:
            opening.shown.append(len(opening.sent))

    def close_code(self, opening: Peer) -> SocketClose | None:
        return opening.opening if isinstance(opening.opening, CloseCode) else None

    def ceiling(self) -> AbstractContextManager[None]:
        return self._peer.ceiling

    async def serve(self, opening: Peer) -> None:
        connection = ToyConnection(opening, self.principal, self.receive, self.base_send, opening.follower)
        await connection.run(['{"hello":1}'])


def principal(*scopes: str) -> Principal:
    return Principal(1, "acme", 1, "key", frozenset(scopes))


@asynccontextmanager
async def serve(peer: Peer) -> AsyncIterator[asyncio.Task[None]]:
    """Serves the client in a task, which ends by itself or because the client leaves, and leaves nothing behind."""
    before = asyncio.all_tasks()
    scope: Scope = {"type": "websocket", "gateway.principal": principal(SESSIONS)}
    served: Any = ToySocket.as_asgi(peer=peer)(scope, peer.receive, peer.send)
    task = asyncio.create_task(served)
    try:
        yield task
    finally:
        if not task.done():
            peer.leave()
        async with asyncio.timeout(WAIT):
            await asyncio.wait([task])
    assert asyncio.all_tasks() - {asyncio.current_task()} <= before, "the socket left tasks behind"
    assert SOCKETS.count == 0
