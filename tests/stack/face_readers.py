"""Clients of one session on every face that shows positions: each leaves, comes back and resumes as its protocol says.

What a client has is compared with the log as its face shows it. A reset is the same for all: the position that the
client had, and the one that still holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.faces.codelab.ide import Ide, ide
from tests.stack.bus_reader import BusReader
from tests.stack.client import POLL_SECONDS, Client, Event, until
from tests.stack.deployment import KEY
from tests.stack.reader import Reader, Resettable


class Told(NamedTuple):
    """A reset as a client was told of it: `position` is where it goes on."""

    position: str
    since: str
    to: str


class FaceReader(Protocol):
    """A client of one face."""

    def has(self, log: Sequence[Event]) -> bool:
        """Returns True when it has exactly this log, as its face shows it."""

    def has_read(self, event: Event) -> bool:
        """Returns True when it has come to this event, with which a run ends."""

    @property
    def resets(self) -> Sequence[Told]: ...

    @property
    def complaints(self) -> Sequence[str]: ...

    def sleeps(self) -> None: ...

    def wakes(self) -> None: ...

    async def stop(self) -> None: ...


class _NativeEvents:
    """The base of readers of native events; `seen` has the events of the session that one was shown."""

    def __init__(self, reader: Reader | SocketReader | BusReader, seen: Resettable) -> None:
        self._reader = reader
        self._seen = seen
        self.sleeps, self.wakes, self.stop = reader.sleeps, reader.wakes, reader.stop

    def has(self, log: Sequence[Event]) -> bool:
        return self._seen.events == list(log)

    def has_read(self, event: Event) -> bool:
        return self._seen.events[-1:] == [event]

    @property
    def resets(self) -> Sequence[Told]:
        return [Told(told.position, str(told.data["from"]), str(told.data["to"])) for told in self._seen.resets]

    @property
    def complaints(self) -> Sequence[str]:
        return self._seen.complaints


class _Sleeper:
    """A client that connects again and again, until it sleeps."""

    def __init__(self) -> None:
        self._task = asyncio.create_task(self._run())

    def sleeps(self) -> None:
        """Its connection breaks, and it does not come back before `wakes`."""
        self._task.cancel()

    def wakes(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(WebSocketException, OSError, TimeoutError, EOFError):
                await self._connection()
            await asyncio.sleep(POLL_SECONDS)

    async def _connection(self) -> None:
        raise NotImplementedError


class SocketReader(_Sleeper, Resettable):
    """A follower over the native WebSocket."""

    def __init__(self, url: str, session: str) -> None:
        Resettable.__init__(self)
        self._address = f"{url.replace('http', 'ws', 1)}/v1/sessions/{session}/ws"
        _Sleeper.__init__(self)

    async def _connection(self) -> None:
        options: dict[str, Any] = {"additional_headers": {"X-API-Key": KEY}, "proxy": None, "close_timeout": 1}
        async with connect(f"{self._address}?since={self.position}", **options) as connection:
            async for frame in connection:
                shown = json.loads(frame)
                self.take(Event.of(str(shown["id"]), shown["event"], shown["data"]))


class IdeReader(_Sleeper):
    """An IDE on the Codelab socket. `frames` has those of the session's events."""

    def __init__(self, url: str, session: str) -> None:
        self._port, self._session = int(url.rpartition(":")[2]), session
        self.frames: list[Mapping[str, Any]] = []
        self.resets: list[Told] = []
        self.complaints: list[str] = []
        super().__init__()

    def has(self, log: Sequence[Event]) -> bool:
        return self.frames == [frame for event in log for frame in _codelab_frames(event)]

    def has_read(self, event: Event) -> bool:
        return self._position == event.position

    @property
    def _position(self) -> str:
        return str(self.frames[-1]["offset"]) if self.frames else "0"

    async def _connection(self) -> None:
        async with ide(self._port, self._session, KEY, since=self._position) as client:
            while True:
                self._take(await _next_frame(client))

    def _take(self, frame: Mapping[str, Any]) -> None:
        if frame["type"] != "events_dropped":
            self.frames.append(frame)
            return
        if frame.get("reason") != "reset":
            self.complaints.append(f"{frame} came after {self._position}")
        self.resets.append(Told(str(frame["offset"]), str(frame["from"]), str(frame["to"])))
        self.frames = [kept for kept in self.frames if _offset(kept) <= _offset(frame)]


async def _next_frame(client: Ide) -> Mapping[str, Any]:
    """Waits for a frame for as long as it takes."""
    while True:
        with contextlib.suppress(TimeoutError):
            return await client.frame()


def _offset(frame: Mapping[str, Any]) -> int:
    return int(str(frame["offset"]).partition(".")[0])


def _codelab_frames(event: Event) -> list[Mapping[str, Any]]:
    """Returns what docs/protocol-codelab.md has for an event of a run that answers with text, and may be retried."""
    match event.type:
        case "message_delta":
            fields = {"type": "assistant_message", "token": event.data["delta"], "is_final": False}
        case "agent_end":
            fields = {"type": "assistant_message", "token": "", "is_final": True}
        case "run_retried":
            fields = {"type": "run_retried", "attempt": event.data["attempt"]}
        case _:
            return []
    return [{**fields, "offset": int(event.position) if event.position.isdecimal() else event.position}]


def _sse(client: Client, session: str) -> FaceReader:
    reader = Reader(client, session)
    return _NativeEvents(reader, reader)


def _socket(client: Client, session: str) -> FaceReader:
    reader = SocketReader(client.url, session)
    return _NativeEvents(reader, reader)


def _agentbus(*, by_connect: bool) -> Callable[[Client, str], FaceReader]:
    def make(client: Client, session: str) -> FaceReader:
        reader = BusReader("reader", [client.url], [session], random.Random(0), by_connect=by_connect)
        return _NativeEvents(reader, reader.sessions[session])

    return make


def _codelab(client: Client, session: str) -> FaceReader:
    return IdeReader(client.url, session)


FACES: Mapping[str, Callable[[Client, str], FaceReader]] = {
    "native, SSE": _sse,
    "native, socket": _socket,
    "agentbus, connect": _agentbus(by_connect=True),
    "agentbus, events.follow": _agentbus(by_connect=False),
    "codelab": _codelab,
}


Readers = Mapping[str, FaceReader]
"""A reader of each face."""


@contextlib.asynccontextmanager
async def readers_of(client: Client, session: str, count: int) -> AsyncIterator[list[Readers]]:
    """Opens `count` readers of the session on each face; yields a mapping of all faces for each."""
    readers: list[Readers] = [{name: make(client, session) for name, make in FACES.items()} for _ in range(count)]
    try:
        yield readers
    finally:
        stops: list[Awaitable[None]] = [reader.stop() for each in readers for reader in each.values()]
        await asyncio.gather(*stops)


def all_read(event: Event, *groups: Readers) -> bool:
    """Returns True when all of them have come to this event, with which a run ends."""
    return all(reader.has_read(event) for readers in groups for reader in readers.values())


def all_reset(readers: Readers) -> bool:
    """Returns True when each of them was told of a reset."""
    return all(reader.resets for reader in readers.values())


async def all_have_the_log(
    log: Sequence[Event],
    seconds: float,
    *,
    base: Event,
    lost: Event,
    reset: Sequence[Readers],
    not_reset: Sequence[Readers],
) -> None:
    """Waits until all have exactly the log, and checks that those who had seen the `lost` event were told so once, and
    to go on after `base`, and the others nothing."""
    told = Told(base.position, str(lost.id), str(base.id))
    for readers, resets in [*((each, [told]) for each in reset), *((each, []) for each in not_reset)]:
        for face, reader in readers.items():
            await until(lambda r=reader: r.has(log), seconds, f"{face}: the log")  # type: ignore[misc]
            assert (list(reader.resets), list(reader.complaints)) == (resets, []), face
