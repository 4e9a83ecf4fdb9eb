"""A gateway with people of every role, and the console as one of them sees it in a browser."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, Locator, expect

from tests.browser.pages import DESK, TIMEOUT_MS, View, WatchedPage, watched_page
from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY
from tests.stack.process import ROOT, GatewayProcess

# As long as pages wait for elements: Playwright's own 5 s are too short for a busy machine.
expect.set_options(timeout=TIMEOUT_MS)

PASSWORD = "a-long-pass-word-17"
SCOPES = {
    "viewer": "sessions:read",
    "reviewer": "sessions:read,approvals,questions",
    "operator": "approvals,questions,sessions,operator,inference,tasks,agents:read,agents:write,usage:read",
}
"""Roles with their scopes; the person of a role is `the-<role>`."""

COMMAND_SECONDS = 120
EVIL = '<img src=x onerror="window.stolen=1"><script>window.stolen=1</script>'
EVIL_TEXT = (
    f"{EVIL} [click](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>) ![pixel](http://127.0.0.1:9/p.png)"
    " <a href='javascript:alert(1)'>a</a> [good](https://example.com/a) `<b>` **bold <i>x</i>** vbscript:alert(1)"
    ' [x](//evil.example/) [y]("onmouseover=alert(1))'
)
"""Text of a person or a model that tries to become markup, to run, or to load something."""


class ConsoleGateway:
    """The process, and its native API with the key of tenant `default`."""

    def __init__(self, process: GatewayProcess, http: aiohttp.ClientSession) -> None:
        self.process = process
        self._http = http

    @property
    def url(self) -> str:
        return self.process.url

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Returns the JSON of a response, which must be a success."""
        headers = {"X-API-Key": KEY}
        async with self._http.request(method, f"{self.url}{path}", json=body, headers=headers) as response:
            text = await response.text()
            assert response.status < 300, text
            return json.loads(text) if text else None

    async def session(self, name: str, **fields: Any) -> str:
        """Creates a session of the demo."""
        await self.ask("POST", "/v1/sessions", {"sessionId": name, "model": "demo:tour", **fields})
        return name

    async def prompt(self, session: str, text: str, *, wait: int = 0, **fields: Any) -> Any:
        """Sends a prompt; with `wait`, returns when its run has ended."""
        return await self.ask("POST", f"/v1/sessions/{session}/prompt?wait={wait}", {"text": text, **fields})

    async def state(self, session: str) -> str:
        return str((await self.ask("GET", f"/v1/sessions/{session}"))["state"])


@contextmanager
def console_serving(directory: Path, **settings: str) -> Iterator[GatewayProcess]:
    """Starts a gateway with a person for every role."""
    data = directory / "data"
    data.mkdir(mode=0o700)
    with ExitStack() as stack:
        process = GatewayProcess(deployment_of(data, stack, HEARTBEAT_SECONDS="1", **settings))
        stack.callback(process.end)
        asyncio.run(process.start())
        for name, scopes in SCOPES.items():
            _add_person(process, f"the-{name}", scopes)
        yield process


@asynccontextmanager
async def console_gateway(process: GatewayProcess) -> AsyncIterator[ConsoleGateway]:
    """Opens the API of a process."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(COMMAND_SECONDS)) as http:
        yield ConsoleGateway(process, http)


def _add_person(process: GatewayProcess, name: str, scopes: str) -> None:
    command = [sys.executable, "manage.py", "user", "add", name, "--tenant", "default", "--scopes", scopes]
    environment = process.deployment.environment(process.port)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=PASSWORD, text=True, capture_output=True, timeout=COMMAND_SECONDS
    )
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def console_page(
    browser: Browser, gateway: ConsoleGateway, person: str, view: View | None = None, **options: Any
) -> AsyncIterator[WatchedPage]:
    """Opens the console as a person who has just signed in."""
    async with watched_page(browser, gateway.url, view or View(*DESK), **options) as watched:
        await watched.open("/console/sign-in")
        await watched.page.fill("#id_username", f"the-{person}")
        await watched.page.fill("#id_password", PASSWORD)
        await watched.page.press("#id_password", "Enter")
        await watched.page.wait_for_url("**/console/sessions")
        yield watched


def check_clean(watched: WatchedPage) -> None:
    """Asserts that nothing failed, was blocked, asked or loaded from elsewhere."""
    assert (watched.errors, watched.violations, watched.dialogs, watched.foreign) == ([], [], [], [])


async def check_nothing_executed(watched: WatchedPage) -> None:
    """Asserts that no text of others became an element that runs, loads or leads into a script."""
    assert await watched.page.evaluate("window.stolen") is None
    bad = ("img", "script", "iframe", "style", "object", "[onerror]", "[onmouseover]", "[style*=url]")
    assert await watched.page.locator(", ".join(f"main {each}" for each in bad)).count() == 0
    links = "[...document.querySelectorAll('a')].map(a => a.protocol)"
    assert set(await watched.page.evaluate(links)) <= {"http:", "https:"}


async def shows(place: Locator, text: str) -> None:
    """Waits until the element contains the text."""
    await expect(place).to_contain_text(text)
