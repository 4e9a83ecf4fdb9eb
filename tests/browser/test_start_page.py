"""The start page in a real browser: a key, the models, a streamed answer; on a desk and a phone, in light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.chromium import Browser, executable
from tests.browser.test_admin_walk import PICTURES
from tests.browser.test_pages import DESK, PHONE, WIDE
from tests.stack.client import until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed here, so no page is looked at in it."),
    pytest.mark.timeout(600),
]

ASK = """(() => { document.getElementById("prompt").value = "Hello, <b>gateway</b>";
  document.getElementById("ask").requestSubmit(); })()"""
TYPE = """((key) => { const field = document.getElementById("key");
  field.value = key; field.dispatchEvent(new Event("change")); })("%s")"""


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        process = GatewayProcess(deployment_of(directory, stack))
        stack.callback(process.end)
        await process.start()
        yield process


async def test_a_visitor_with_a_key_sees_the_models_and_an_answer(gateway: GatewayProcess, tmp_path: Path) -> None:
    async with Browser(tmp_path / "browser") as browser:

        async def shows(selector: str, words: str) -> bool:
            return words in await browser.value(selector)

        async def refused() -> bool:
            return "key" in (await browser.value("#hint")) and not await shows("#hint", "stays in this page")

        for size in (DESK, PHONE):
            for dark in (False, True):
                await browser.resize(*size)
                await browser.dark(dark)
                await browser.open(f"{gateway.url}/")
                assert await browser.value("#health + p strong") == "Everything is well."
                await browser.run(TYPE % "wrong")
                await until(refused, 20, "a wrong key is refused in words")
                await browser.run(TYPE % KEY)
                await until(lambda: shows("#hint", "Only the demo answers"), 20, "the models are listed")
                assert await browser.run("[...document.querySelectorAll('#model option')].map(o => o.value)") == [
                    "demo:tour",
                    "demo:echo",
                ]
                await browser.run(ASK)
                await until(lambda: shows("#answer", "Try: “think”"), 20, "the answer is there")
                assert await browser.run("document.querySelector('#answer b')") is None
                assert await browser.run(WIDE) == []
                if PICTURES:
                    name = f"start-{size[0]}-{'dark' if dark else 'light'}.png"
                    await browser.shot(Path(PICTURES) / name)
        # The browser reports the refusals of the wrong key, too.
        assert [error for error in browser.errors if "401" not in error] == []
        assert browser.violations == []
