"""A receiver of webhooks in the test's own loop: replies as the test says, and keeps the messages."""

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

    def verify(self, secret: str) -> Any:
        """Returns the body; raises unless it is signed with `secret`."""
        return Webhook(secret).verify(self.body, self.headers)


Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def fixed_reply(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Reply:
    """Returns a reply that is always the same."""

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=body)

    return reply


class Held:
    """Replies that wait until the test releases them."""

    def __init__(self) -> None:
        self.reached = asyncio.Semaphore(0)
        self.open = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.reached.release()
        await self.open.wait()
        return web.Response()

    async def arrivals(self, count: int) -> None:
        """Waits until `count` more requests wait here."""
        async with asyncio.timeout(WAIT):
            for _ in range(count):
                await self.reached.acquire()


class Receiver:
    """Replies with each of `replies` once, then always with `otherwise`."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Reply] = []
        self.otherwise: Reply = fixed_reply(200)
        self.messages: list[Message] = []
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message = Message({name.lower(): value for name, value in request.headers.items()}, await request.read())
        self.messages.append(message)
        self._arrived.put_nowait(message)
        reply = self.replies.pop(0) if self.replies else self.otherwise
        return await reply(request)

    async def next(self) -> Message:
        """Returns the next message that was not taken yet."""
        async with asyncio.timeout(WAIT):
            return await self._arrived.get()

    @property
    def waiting(self) -> int:
        """The number of messages that were not taken yet."""
        return self._arrived.qsize()


@asynccontextmanager
async def run_receiver() -> AsyncIterator[Receiver]:
    """Runs a receiver on its own port."""
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
