"""Attempts to connect that end without a connection, against a server that takes them and says nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from core_app.postgresql import PromptAsyncConnection, PromptConnection

BOUND_SECONDS = 20


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class SilentServer:
    """Tells when a client asked, and when it was gone."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        self.asked.set()
        assert await reader.read() == b""
        self.gone.set()
        writer.close()


@asynccontextmanager
async def silent_server() -> AsyncIterator[SilentServer]:
    silent = SilentServer()
    async with await asyncio.start_server(silent.take, "127.0.0.1", 0) as server:
        silent.url = f"postgresql://x@127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        yield silent


async def test_a_cancelled_attempt_is_closed_at_once() -> None:
    async with asyncio.timeout(BOUND_SECONDS), silent_server() as server:
        attempt = asyncio.create_task(PromptAsyncConnection.connect(server.url))
        await server.asked.wait()
        attempt.cancel()
        await server.gone.wait()
        assert (await asyncio.gather(attempt, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_an_attempt_that_took_too_long_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(BOUND_SECONDS), silent_server() as server:
        # A long time passes as soon as the server was asked.
        monkeypatch.setattr("psycopg.waiting.monotonic", lambda: 1_000.0 if server.asked.is_set() else 0.0)
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            await asyncio.to_thread(PromptConnection.connect, f"{server.url}?connect_timeout=60")
        await server.gone.wait()
