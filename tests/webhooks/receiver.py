"""A receiver of webhooks in the test's own loop: answers as it is told, and remembers what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.gateway_harness import WAIT


@dataclass(frozen=True)
class Message:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return str(self.json["type"])

    def verified(self, secret: str) -> Any:
        """The body, when it is signed with `secret`."""
        return Webhook(secret).verify(self.body, self.headers)


Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Reply:
    """A reply that is always the same."""

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=body)

    return reply


class Held:
    """Replies that wait until the test lets them go."""

    def __init__(self) -> None:
        self.reached = asyncio.Semaphore(0)
        self.open = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.reached.release()
        await self.open.wait()
        return web.Response()

    async def arrivals(self, count: int) -> None:
        """Until `count` more requests wait here."""
        async with asyncio.timeout(WAIT):
            for _ in range(count):
                await self.reached.acquire()


class Receiver:
    """Answers with `replies` in turn, then with `otherwise`."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Reply] = []
        self.otherwise: Reply = answering(200)
        self.messages: list[Message] = []
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message = Message({name.lower(): value for name, value in request.headers.items()}, await request.read())
        self.messages.append(message)
        self._arrived.put_nowait(message)
        reply = self.replies.pop(0) if self.replies else self.otherwise
        return await reply(request)

    async def next(self) -> Message:
        """The next message that nobody has taken."""
        async with asyncio.timeout(WAIT):
            return await self._arrived.get()

    @property
    def waiting(self) -> int:
        """Messages that nobody has taken."""
        return self._arrived.qsize()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver, application = Receiver(), web.Application()
    application.router.add_route("*", "/{rest:.*}", receiver.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()
