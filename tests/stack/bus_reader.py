"""Agentbus clients that follow several sessions on one connection, whatever happens to its server.

They come back to any process and resume: by the positions in `connect`, or session by session with `events.follow`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

from websockets.exceptions import WebSocketException

from tests.faces.agentbus.bus_client import BusClient, bus
from tests.stack.client import POLL_SECONDS, Event
from tests.stack.deployment import KEY
from tests.stack.reader import Resettable

OPEN_SECONDS = 10.0
SILENT_SECONDS = 15.0
"""A frozen process says nothing, and its client turns to another one."""


class BusRefused(Exception):
    """A request was refused, as by a process without its database."""


class BusReader:
    """One client; `sessions` has what it was shown of each of them. Without `by_connect` chance decides how it
    resumes."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        sessions: Sequence[str],
        chance: random.Random,
        *,
        by_connect: bool | None = None,
    ) -> None:
        self.sessions = {session: Resettable() for session in sessions}
        self.connections = 0
        self._name = name
        self._ports = [int(url.rpartition(":")[2]) for url in urls]
        self._chance = chance
        self._by_connect = by_connect
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def sleeps(self) -> None:
        """Its connection breaks, and it does not come back before `wakes`."""
        self._task.cancel()

    def wakes(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(WebSocketException, BusRefused, OSError, TimeoutError, EOFError):
                async with bus(self._chance.choice(self._ports), open_timeout=OPEN_SECONDS) as client:
                    await self._connection(client)
            await asyncio.sleep(POLL_SECONDS)

    async def _connection(self, client: BusClient) -> None:
        self.connections += 1
        resumes = {name: seen.position for name, seen in self.sessions.items() if seen.events}
        by_connect = self._chance.random() < 0.5 if self._by_connect is None else self._by_connect
        await self._sign_in(client, resumes if by_connect else {})
        for name, seen in self.sessions.items():
            if not by_connect or name not in resumes:
                async with asyncio.timeout(SILENT_SECONDS):
                    response = await client.request("events.follow", session_id=name, since=seen.position)
                if not response["ok"]:
                    raise BusRefused(response["error"])
        while True:
            async with asyncio.timeout(SILENT_SECONDS):
                shown = await client.event("session.event")
            event = Event.of(str(shown["id"]), shown["event"], shown["data"])
            self.sessions[shown["session_id"]].take(event)

    async def _sign_in(self, client: BusClient, last_seen: dict[str, str]) -> None:
        async with asyncio.timeout(SILENT_SECONDS):
            response = await client.sign_in(auth_token=KEY, client_id=self._name, last_seq=last_seen)
        if not response["ok"]:
            raise BusRefused(response["error"])
