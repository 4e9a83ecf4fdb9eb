"""A gateway that is killed and started again while chats run, each time after some more events of one of them."""

from __future__ import annotations

import asyncio

from tests.settings import DEPLOYMENT
from tests.stack.process import GatewayProcess

DEATHS = 10 if DEPLOYMENT == "embedded" else 4
"""The client is the same in both deployments; what a restart does to a session is tests/stack's."""

SECONDS = 500
"""A restart takes two seconds, on a busy machine ten."""


class Killer:
    """Counts the events of `chats` chats; `run` kills and starts the server, each time at another place."""

    def __init__(self, server: GatewayProcess, chats: int) -> None:
        self._server = server
        self._counts = [0] * chats
        self._grew = asyncio.Condition()

    async def count(self, chat: int) -> None:
        """Notes an event of a chat."""
        async with self._grew:
            self._counts[chat] += 1
            self._grew.notify_all()

    async def run(self) -> None:
        """Kills the server DEATHS times."""
        for death in range(DEATHS):
            chat = death % len(self._counts)
            seen = self._counts[chat]
            async with self._grew:
                await self._grew.wait_for(lambda: self._counts[chat] > seen + 6 + 5 * death)  # noqa: B023
            await self._server.kill()
            await self._server.start()
