"""A browser's EventSource and WebSocket, on a page of another origin, with stream tokens, while the server restarts."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from sessions_app.events import SESSION_EVENTS
from tests.browser.chromium import Browser, executable
from tests.browser.page_server import page_serving
from tests.stack.client import Client, until
from tests.stack.conftest import deployment_of
from tests.stack.process import GatewayProcess, free_port

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed here, so no page follows in it."),
    pytest.mark.timeout(600),
]

SESSION = "watched"
TYPES = sorted(SESSION_EVENTS.events)


@pytest.fixture
def page_port() -> int:
    """The address of the page."""
    return free_port()


@pytest.fixture
def gateway(tmp_path: Path, page_port: int) -> Iterator[GatewayProcess]:
    """A gateway that lets the page's origin read."""
    directory = tmp_path / "data"
    directory.mkdir()
    with ExitStack() as stack:
        origins = f"http://127.0.0.1:{page_port}"
        process = GatewayProcess(deployment_of(directory, stack, CORS_ORIGINS=origins, DRAIN_SECONDS="0.3"))
        stack.callback(process.end)
        yield process


@pytest_asyncio.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(tmp_path / "browser") as browser:
        yield browser


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Page:
    """The page in the browser."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    async def open(self, address: str, gateway: GatewayProcess, client: Client) -> None:
        """With a token for each of its connections, as the site's own server would have got them."""
        one, two = [
            (await client.post(f"/v1/sessions/{SESSION}/stream-token", {}, expect=200))["token"] for _ in range(2)
        ]
        events = f"{gateway.url}/v1/sessions/{SESSION}/events?follow=session&token={one}"
        socket = f"{gateway.url.replace('http', 'ws')}/v1/sessions/{SESSION}/ws?token={two}"
        await self._browser.open(f"{address}/#{quote(f'{events} {socket}')}")

    async def received(self) -> dict[str, Any]:
        return dict(json.loads(await self._browser.run("JSON.stringify(received)")))

    async def has(self, *, events: int = 0, terminal: int = 0) -> bool:
        """Returns True once both ways have brought so many events, and so many ends of runs."""
        got = await self.received()
        return all(len(got[way]) >= events and got["terminal"][way] >= terminal for way in ("sse", "ws"))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_both_get_every_event_once_across_a_restart(
    gateway: GatewayProcess, browser: Browser, http: aiohttp.ClientSession, page_port: int, end: signal.Signals
) -> None:
    await gateway.start()
    client, page = Client(http, gateway.url), Page(browser)
    await client.create(SESSION, providerOpts={"delayMs": 20})
    async with page_serving(page_port, TYPES) as address:
        await page.open(address, gateway, client)
        await client.prompt(SESSION, "long 150")
        await until(lambda: page.has(events=20), 30, "both follow the run")
        gateway.signal(end)
        await gateway.wait_exit()
        await gateway.start()
        await client.prompt(SESSION, "long 5")
        await until(lambda: page.has(terminal=2), 60, "both see the ends of both runs")
        received = await page.received()
    log = [event.id for event in await client.log(SESSION)]
    assert log == list(range(1, len(log) + 1))
    assert received["sse"] == log
    assert received["ws"] == log
    assert received["opened"]["sse"] >= 2
    assert received["opened"]["ws"] >= 2
    assert browser.dialogs == []


async def test_a_page_of_an_origin_that_is_not_allowed_reads_nothing(
    gateway: GatewayProcess, browser: Browser, http: aiohttp.ClientSession
) -> None:
    await gateway.start()
    client, page = Client(http, gateway.url), Page(browser)
    await client.create(SESSION)
    await client.post(f"/v1/sessions/{SESSION}/prompt?wait=60", {"text": "hello"}, expect=200)
    async with page_serving(free_port(), TYPES) as address:
        await page.open(address, gateway, client)

        async def refused() -> bool:
            return bool(await browser.run("source.readyState == EventSource.CLOSED"))

        await until(refused, 20, "the browser refuses the stream")
        assert (await page.received())["sse"] == []
