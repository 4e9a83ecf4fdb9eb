"""An external client: it posts, reads, and follows a session through the deaths of its server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.stack.deployment import KEY

TERMINAL = frozenset({"agent_end", "agent_abort"})
POLL_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
BUSY = 6


@dataclass(frozen=True)
class Event:
    """An event as received. `id` is its offset, `position` its whole id."""

    id: int
    type: str
    data: dict[str, Any]
    position: str

    @classmethod
    def of(cls, position: str, type_: str, data: dict[str, Any]) -> Event:
        return cls(int(position.partition(".")[0]), type_, data, position)


class Client:
    """A client of one server; `url` may be changed to another."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url

    async def create(self, session_id: str, **more: Any) -> None:
        await self.post("/v1/sessions", {"sessionId": session_id, "model": "demo:tour", **more}, expect=201)

    async def prompt(self, session_id: str, text: str) -> str:
        """Sends a prompt; returns the `requestId` of its 202."""
        answer = await self.post(f"/v1/sessions/{session_id}/prompt", {"text": text}, expect=202)
        return str(answer["requestId"])

    async def post(self, path: str, body: dict[str, Any], *, expect: int) -> dict[str, Any]:
        async with self._http.post(self.url + path, json=body, headers={"X-API-Key": KEY}) as answer:
            found = await answer.json()
            assert answer.status == expect, found
            return dict(found)

    async def get(self, path: str) -> dict[str, Any]:
        async with self._http.get(self.url + path, headers={"X-API-Key": KEY}) as answer:
            found = await answer.json()
            assert answer.status == 200, found
            return dict(found)

    async def log(self, session_id: str) -> list[Event]:
        """Reads the whole log of a session, page by page."""
        events: list[Event] = []
        while True:
            since = events[-1].position if events else "0"
            page = await self.get(f"/v1/sessions/{session_id}/events?format=json&limit=1000&since={since}")
            events += [Event.of(str(item["id"]), item["event"], item["data"]) for item in page["events"]]
            if page["nextCursor"] is None:
                return events

    async def follow(self, session_id: str, after: str = "0") -> AsyncIterator[Event | str]:
        """Yields the session's events after `after`, and the text of comments, until the server ends the stream."""
        headers = {"X-API-Key": KEY, "Last-Event-ID": after}
        address = f"{self.url}/v1/sessions/{session_id}/events?follow=session"
        async with self._http.get(address, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            fields: dict[bytes, bytes] = {}
            async for line in _lines(answer):
                name, _, value = line.partition(b": ")
                if line and not name:
                    yield value.decode()
                elif line:
                    fields[name] = value
                else:
                    if b"data" in fields:
                        yield Event.of(fields[b"id"].decode(), fields[b"event"].decode(), json.loads(fields[b"data"]))
                    fields = {}


class Seen:
    """The events of a session that one client has, and what follows from them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.over: set[str] = set()
        """The runs whose end it has seen."""
        self.asked: set[str] = set()
        """The approvals that were asked for and not decided."""
        self.resets: list[Event] = []
        self.complaints: list[str] = []
        """Breaches of the protocol that show at once."""

    @property
    def position(self) -> str:
        """The position to resume after."""
        return self.events[-1].position if self.events else "0"

    def take(self, event: Event) -> None:
        """Adds the next event."""
        self.events.append(event)
        if event.type in TERMINAL:
            self.over.add(event.data["requestId"])
        elif event.type == "approval_required":
            self.asked.add(event.data["approvalId"])
        elif event.type == "approval_resolved":
            self.asked.discard(event.data["approvalId"])


class Watcher(Seen):
    """Follows a session whatever happens to its server, resuming after the last id it received."""

    def __init__(self, client: Client, session_id: str) -> None:
        super().__init__()
        self.comments: list[str] = []
        self.connections = 0
        self._client = client
        self._session_id = session_id
        self._task = asyncio.create_task(self._run())

    def has_seen_end(self, request_ids: set[str]) -> bool:
        """Returns True once it has seen the end of all these runs."""
        return request_ids <= self.over

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = POLL_SECONDS
        while True:
            position = self.position
            # The server is dead, or is about to be: the next connection resumes.
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await self._connection()
            # A thousand clients that hurry keep a busy server from serving any.
            pause = POLL_SECONDS if self.position != position else min(2 * pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _connection(self) -> None:
        self.connections += 1
        async for event in self._client.follow(self._session_id, self.position):
            if isinstance(event, Event):
                self.take(event)
            else:
                self.comments.append(event)


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> None:
    """Waits for the condition, for `seconds` at most, or BUSY times as long on a busy machine."""
    try:
        async with asyncio.timeout(BUSY * seconds):
            while not await _holds(condition()):  # noqa: ASYNC110  (another process says nothing when it changes)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {BUSY * seconds} s") from None


async def _holds(found: bool | Awaitable[bool]) -> bool:
    return found if isinstance(found, bool) else await found


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    buffer = b""
    async for chunk in answer.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            yield line
