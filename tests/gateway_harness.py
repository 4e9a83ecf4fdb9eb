"""The whole gateway in the test's own process: its ASGI application, its parts, and clients.

`gateway` starts and stops everything; `gateway.client(caller)` sends requests and follows streams. Nothing sleeps:
every wait is for an event, for WAIT seconds at most. When a test ends, every session it ran is compared with its log
(`tests.fold`).
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from channels.layers import channel_layers

from core_app import database
from gateway_project.asgi import application
from gateway_project.process.lifecycle import GATEWAY
from sessions_app.legs.runner import RUNNER
from tenants_app.limits import RATE_LIMITS
from tests.conftest import Caller
from tests.fold import sessions_check
from tests.kept import threads_kept, threads_rest

WAIT = 60.0
UNSET: Any = object()


@dataclass
class Answer:
    """A complete HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]

    @property
    def field(self) -> str | None:
        found: str | None = self.json.get("field")
        return found


@dataclass(frozen=True)
class Frame:
    """One event of a stream, with its bytes."""

    id: Any
    event: str
    data: dict[str, Any]
    raw: bytes = field(compare=False, default=b"")


class EventReader:
    """A client of text/event-stream. `raw` has every byte; a `stalled` reader reads none until `resume`.

    `last_id` is the id from which a client would resume that has seen the events the test has read.
    """

    def __init__(self, scope: dict[str, Any], *, stalled: bool = False) -> None:
        self._scope = scope
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self._open = asyncio.Event()
        self._over = asyncio.Event()
        if not stalled:
            self._open.set()
        self._frames: deque[Frame] = deque()
        self._arrived_id: Any = 0
        self._partial = b""
        self._asked = False
        self.raw = b""
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.comments: list[bytes] = []
        self.bare_ids: list[Any] = []
        self.last_id: Any = 0
        self.ended = False
        self.patience = WAIT

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self._open.wait()
            self._take(message.get("body", b""))
            self.ended = not message.get("more_body", False)
        self._changed.set()

    def _take(self, chunk: bytes) -> None:
        self.raw += chunk
        if "event-stream" not in self.headers.get("content-type", ""):
            return
        self.comments += [line for line in chunk.split(b"\n") if line.startswith(b":")]
        *whole, self._partial = (self._partial + chunk).split(b"\n\n")
        for block in whole:
            self._block(block)

    def _block(self, block: bytes) -> None:
        block = b"\n".join(line for line in block.split(b"\n") if not line.startswith((b":", b"retry:")))
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
        if b"id" in fields:
            self._arrived_id = _position(fields[b"id"].decode())
        if b"event" in fields:
            data = json.loads(fields[b"data"])
            self._frames.append(Frame(self._arrived_id, fields[b"event"].decode(), data, block + b"\n\n"))
        elif b"data" in fields:
            # A frame without an event's name says its type in its data.
            done = fields[b"data"] == b"[DONE]"
            data = {"type": "[DONE]"} if done else json.loads(fields[b"data"])
            self._frames.append(Frame(self._arrived_id, data.get("type", "message"), data, block + b"\n\n"))
        elif b"id" in fields:
            self.bare_ids.append(self._arrived_id)

    @property
    def heartbeats(self) -> int:
        """The number of heartbeats so far."""
        return self.comments.count(b": heartbeat")

    async def run(self) -> None:
        """Runs the connection to its end."""
        try:
            await application(self._scope, self._receive, self._send)
        finally:
            self.ended = True
            self._over.set()
            self._changed.set()

    async def end(self) -> None:
        """Waits until the connection is over, whether or not it was read."""
        async with asyncio.timeout(WAIT):
            await self._over.wait()

    async def until(self, seen: Callable[[], Any]) -> None:
        """Waits until `seen()` is true; AssertionError after `patience` seconds or when the stream ends before."""
        try:
            async with asyncio.timeout(self.patience):
                while not seen():
                    assert not self.ended, f"the stream ended: {self.raw[-2000:]!r}"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"nothing came in {self.patience} s; so far: {self.raw[-2000:]!r}") from None

    async def next(self) -> Frame:
        """Returns the next event."""
        await self.until(lambda: self._frames)
        frame = self._frames.popleft()
        self.last_id = frame.id
        return frame

    async def next_of(self, *types: str) -> Frame:
        """Returns the next event of one of these types, and skips those before it."""
        while True:
            frame = await self.next()
            if frame.event in types:
                return frame

    async def read_to_end(self) -> list[Frame]:
        """Returns the remaining events, once the stream has ended by itself."""
        await self.until(lambda: self.ended)
        frames, self._frames = list(self._frames), deque()
        self.last_id = self._arrived_id
        return frames

    async def answer(self) -> Answer:
        """Returns the response of a request that is not a stream."""
        await self.until(lambda: self.ended)
        assert self.status is not None
        return Answer(self.status, self.headers, self.raw)

    def resume(self) -> None:
        """Starts reading."""
        self._open.set()

    def leave(self) -> None:
        """Disconnects."""
        self._gone.set()
        self._open.set()


class Client:
    """An HTTP client of the application, with a caller's key, at an address."""

    def __init__(self, caller: Caller | None, address: str = "127.0.0.1") -> None:
        self._headers = caller.headers if caller is not None else {}
        self._address = address

    async def ask(
        self, method: str, path: str, payload: Any = UNSET, *, body: bytes | None = None, headers: Any = None
    ) -> Answer:
        """Sends a request and returns its response; `payload` is sent as JSON, `body` as it is."""
        content = body if body is not None else b"" if payload is UNSET else json.dumps(payload).encode()
        given = {"content-type": "application/json", **self._headers, **(headers or {})}
        scope = {**_scope(method, path, given), "client": (self._address, 1)}
        sent: list[dict[str, Any]] = []
        pending = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if pending:
                return pending.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async with asyncio.timeout(WAIT * 4):
            await application(scope, receive, send)
        start, *chunks = sent
        names = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(chunk.get("body", b"") for chunk in chunks))

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, payload: Any = UNSET, **more: Any) -> Answer:
        return await self.ask("POST", path, payload, **more)

    async def patch(self, path: str, payload: Any = UNSET, **more: Any) -> Answer:
        return await self.ask("PATCH", path, payload, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self.ask("DELETE", path, **more)

    async def session(self, **fields: Any) -> str:
        """Creates a session and returns its id; the model is `demo:echo` unless given."""
        answer = await self.post("/v1/sessions", {"model": "demo:echo", **fields})
        assert answer.status == 201, answer.body
        return str(answer.json["sessionId"])

    async def prompt(self, session: str, text: str, **fields: Any) -> str:
        """Sends a prompt; returns the `requestId` of its 202."""
        answer = await self.post(f"/v1/sessions/{session}/prompt", {"text": text, **fields})
        assert answer.status == 202, answer.body
        return str(answer.json["requestId"])

    async def run(self, session: str, text: str, **fields: Any) -> dict[str, Any]:
        """Sends a prompt and waits for the end of its run; returns the run as REST shows it."""
        request_id = await self.prompt(session, text, **fields)
        return await self.follow_run(session, request_id)

    async def follow_run(self, session: str, request_id: str) -> dict[str, Any]:
        """Follows a run to its end; returns it as REST shows it."""
        async with self.events(session, requestId=request_id) as reader:
            if reader.status != 204:
                await reader.read_to_end()
        return dict((await self.get(f"/v1/sessions/{session}/runs/{request_id}")).json)

    async def poll_run(self, session: str, request_id: str) -> dict[str, Any]:
        """Polls a run until REST says that it has ended; for tests that follow nothing."""
        async with asyncio.timeout(WAIT):
            while True:
                run = (await self.get(f"/v1/sessions/{session}/runs/{request_id}")).json
                if run["endedAt"] is not None:
                    return dict(run)

    @asynccontextmanager
    async def events(
        self,
        session: str,
        *,
        last_id: Any = None,
        stalled: bool = False,
        path: str | None = None,
        patience: float = WAIT,
        **query: Any,
    ) -> AsyncIterator[EventReader]:
        """Follows a session (or `path`); disconnects at the end of the block."""
        headers = {**self._headers, **({"last-event-id": str(last_id)} if last_id is not None else {})}
        target = path or f"/v1/sessions/{session}/events"
        reader = EventReader(_scope("GET", f"{target}?{urlencode(query)}", headers), stalled=stalled)
        reader.patience = patience
        task = asyncio.create_task(reader.run())
        try:
            await reader.until(lambda: reader.status)
            yield reader
        finally:
            reader.leave()
            async with asyncio.timeout(patience):
                await task

    async def log(self, session: str) -> list[Frame]:
        """Reads the session's whole log."""
        frames: list[Frame] = []
        cursor: Any = 0
        while cursor is not None:
            page = (await self.get(f"/v1/sessions/{session}/events?format=json&limit=1000&since={cursor}")).json
            frames += [Frame(event["id"], event["event"], event["data"]) for event in page["events"]]
            cursor = page["nextCursor"]
        return frames


def _position(text: str) -> int | str:
    """Returns an id of a frame as JSON has it."""
    return text if "." in text else int(text)


def _scope(method: str, target: str, headers: dict[str, str]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"gateway.test")]
        + [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def eventually(true: Callable[[], Any]) -> None:
    """Waits until `true()`, which is called in every iteration of the loop: for conditions without an event."""
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


class GatewayHarness:
    """The gateway under test."""

    def client(self, caller: Caller | None) -> Client:
        """Returns a client with the caller's key; without one for None."""
        return Client(caller)

    async def start(self) -> None:
        """Starts the process again."""
        channel_layers.backends.clear()
        await GATEWAY.start()

    async def stop(self) -> None:
        """Stops the process without a drain: followers get no notice, legs are handed over."""
        try:
            await GATEWAY.stop()
        finally:
            await self._close()

    async def drain(self) -> None:
        """Drains the process."""
        await GATEWAY.drain()

    async def restart(self) -> None:
        """Stops the process and starts it again, on the same database."""
        await self.drain()
        await self.stop()
        await self.start()

    async def wait_idle(self) -> None:
        """Waits until no leg runs in this process."""
        async with asyncio.timeout(WAIT):
            while tasks := list(RUNNER._tasks.values()):
                await asyncio.wait(tasks)
                await asyncio.sleep(0)

    async def _close(self) -> None:
        await RATE_LIMITS.close()
        channel_layers.backends.clear()


SETTINGS: dict[str, Any] = {"GATEWAY_RATE_LIMIT_RPM": 0, "GATEWAY_DRAIN_SECONDS": 1.0}
"""Settings of a gateway under test."""


@asynccontextmanager
async def gateway_lived() -> AsyncIterator[GatewayHarness]:
    """Runs a gateway for the block, and compares its sessions with their logs afterwards."""
    harness = GatewayHarness()
    await harness.start()
    try:
        yield harness
        await harness.drain()
    finally:  # whatever became of this test, the next one begins with a process of its own
        with threads_kept():
            await harness.stop()
    await database.run(sessions_check)
    await asyncio.get_running_loop().run_in_executor(None, threads_rest)


@pytest_asyncio.fixture
async def gateway(transactional_db: None, settings: Any) -> AsyncIterator[GatewayHarness]:
    """A running gateway; its sessions are compared with their logs after the test."""
    for name, value in SETTINGS.items():
        setattr(settings, name, value)
    async with gateway_lived() as harness:
        yield harness


@pytest.fixture
def api(gateway: GatewayHarness, owner: Caller) -> Client:
    """A client with every scope."""
    return gateway.client(owner)
