"""The JavaScript client in a browser: static files under a strict policy, and a server of another origin that is
killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import web

from gateway_client import AsyncGateway
from gateway_client.events import ToolExecutionEnd
from tests.browser.chromium import Browser, executable
from tests.client.conftest import QUICK
from tests.client.node import PACKAGE, PROGRAMS, event_of
from tests.client.test_sessions import all_events
from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess, free_port

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed here, so no page runs in it."),
    pytest.mark.timeout(600),
]

PAGE = '<!doctype html><link rel="icon" href="data:,"><title>Chat</title><script type="module" src="/page.js"></script>'
TRUSTED = "require-trusted-types-for 'script'"
VIAS = ("sse", "websocket")


@pytest.fixture
def page_port() -> int:
    """The address of the page."""
    return free_port()


@pytest.fixture
def gateway(tmp_path: Path, page_port: int) -> Iterator[GatewayProcess]:
    """A gateway that lets the page's origin call."""
    directory = tmp_path / "data"
    directory.mkdir()
    with ExitStack() as stack:
        process = GatewayProcess(deployment_of(directory, stack, CORS_ORIGINS=f"http://127.0.0.1:{page_port}"))
        stack.callback(process.end)
        yield process


@pytest_asyncio.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(tmp_path / "browser") as browser:
        yield browser


@asynccontextmanager
async def page_serving(port: int, gateway: str) -> AsyncIterator[str]:
    """The page and the package as static files, which may load nothing else and only call the gateway."""
    sources = f"{gateway} {gateway.replace('http', 'ws')}"
    policy = f"default-src 'none'; script-src 'self'; connect-src {sources}; img-src data:; {TRUSTED}"

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(PROGRAMS / "page.js")

    application = web.Application()
    application.router.add_get("/", page)
    application.router.add_get("/page.js", script)
    application.router.add_static("/client", PACKAGE)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_a_chat_of_a_page_survives_a_kill_of_its_server(
    gateway: GatewayProcess, browser: Browser, page_port: int
) -> None:
    await gateway.start()
    async with page_serving(page_port, gateway.url) as address, asyncio.timeout(300):
        await browser.open(f"{address}/#{quote(f'{gateway.url} {KEY}')}")
        await browser.run("asked.then(() => true)")
        await gateway.kill()
        await gateway.start()
        await browser.run("approve()")
        await browser.run("done.then(() => true)")
        seen = json.loads(await browser.run("JSON.stringify({sessions, seen})"))
    assert browser.violations == []
    async with AsyncGateway(gateway.url, KEY, timeouts=QUICK) as client:
        for via in VIAS:
            events = [event_of(event) for event in seen["seen"][via]]
            log = await all_events(client, seen["sessions"][via])
            assert events == [event for event in log if event.data["requestId"] == events[-1].request_id]
            assert events[-1].type == "agent_end"
            ends = [event for event in events if isinstance(event, ToolExecutionEnd)]
            assert {end.result for end in ends if end.tool_name == "title"} == {"Chat"}
