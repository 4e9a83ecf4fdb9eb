"""The server that callback tools call: it counts the requests of every call, and responds with the count.

A settled result thus names the request that settled it, and a repeated call shows.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

SLOWEST_SECONDS = 0.6


class Callbacks:
    """`requests` counts by call id (`webhook-id`)."""

    def __init__(self, chance: random.Random) -> None:
        self.requests: Counter[str] = Counter()
        self.uncertain: set[str] = set()
        """Calls that the gateway may have forgotten, because its database went back in time."""
        self.port = 0
        self._chance = chance

    def registration(self, name: str, *, idempotent: bool) -> dict[str, object]:
        """Returns the registration of a tool that calls this server."""
        return {
            "name": name,
            "description": "Counts how often it is called.",
            "parameters": {"type": "object"},
            "callbackUrl": f"http://127.0.0.1:{self.port}/",
            "idempotent": idempotent,
        }

    async def answer(self, request: web.Request) -> web.Response:
        call_id = request.headers["webhook-id"]
        self.requests[call_id] += 1
        result = f"{call_id}#{self.requests[call_id]}"
        await asyncio.sleep(self._chance.uniform(0, SLOWEST_SECONDS))
        return web.json_response({"result": result})


@asynccontextmanager
async def callbacks_serving(chance: random.Random) -> AsyncIterator[Callbacks]:
    """Serves in this process, on a free port."""
    callbacks = Callbacks(chance)
    application = web.Application()
    application.router.add_post("/", callbacks.answer)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        callbacks.port = runner.addresses[0][1]
        yield callbacks
    finally:
        await runner.cleanup()
