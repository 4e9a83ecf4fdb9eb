"""The start page, audited by axe in every view; and the audit itself, which sees a page that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.pages import VIEWS, chromium, needs_axe, needs_chromium, watched_page
from tests.stack.conftest import deployment_of
from tests.stack.process import GatewayProcess

pytestmark = [needs_chromium, needs_axe, pytest.mark.timeout(600)]

WRONG = """() => {
  document.body.insertAdjacentHTML("beforeend", "<input name=bare><p class=wide>This is too wide.</p>");
  document.querySelector(".wide").style.width = "900px";
  document.body.append(Object.assign(document.createElement("script"), {text: "alert()"}));
  document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/"}));
  setTimeout(() => { throw new Error("thrown"); });
}"""


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        process = GatewayProcess(deployment_of(directory, stack))
        stack.callback(process.end)
        await process.start()
        yield process


async def test_nothing_on_the_start_page_is_serious(gateway: GatewayProcess) -> None:
    async with chromium() as browser:
        for view in VIEWS:
            async with watched_page(browser, gateway.url, view) as watched:
                await watched.open("/")
                assert await watched.axe() == [], view
                assert await watched.too_wide() == [], view
                await watched.picture("start")
                assert (watched.errors, watched.violations, watched.foreign) == ([], [], [])


async def test_the_audit_sees_what_is_wrong(gateway: GatewayProcess) -> None:
    async with chromium() as browser, watched_page(browser, gateway.url, VIEWS[2]) as watched:
        await watched.open("/")
        async with watched.page.expect_event("pageerror"):
            await watched.page.evaluate(WRONG)
        assert any("thrown" in error for error in watched.errors)
        assert any("label" in finding for finding in await watched.axe())
        assert any("wide" in element for element in await watched.too_wide())
        blocked = ("script-src-elem", "img-src")
        assert [name for name in blocked if any(name in violation for violation in watched.violations)] == list(blocked)
