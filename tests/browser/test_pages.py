"""Every page of the admin and the API's page, in a real browser: no policy blocks a part of one, and no script fails.

The policies allow no inline script, and no inline style in the admin. A page that needs one would look whole to every
other test.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
import pytest_asyncio

from tests.browser.chromium import Browser, executable
from tests.browser.test_admin_walk import PASSWORD, PICTURES, SECRET
from tests.stack.client import until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import forget_administrators
from tests.stack.process import GatewayProcess

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed here, so no page is looked at in it."),
    pytest.mark.timeout(600),
]

HIDDEN = "pay \u202eeno\u202c"
SESSION = "/admin/sessions_app/agentsession/"
PHONE, DESK = (390, 844), (1280, 900)
ICON = "/favicon.ico"
"""Browsers ask for it on their own."""

LINKS = """[...new Set([...document.querySelectorAll("#nav-sidebar a, #content a")]
  .filter(link => link.pathname.startsWith("/admin/")).map(link => link.pathname + link.search))]"""
WIDE = """[...document.querySelectorAll("body, body *")].filter(element => element.offsetParent
  && element.getBoundingClientRect().right > innerWidth + 1
  && !element.closest(".results, #changelist-form, pre, svg, #nav-sidebar"))
  .map(element => element.outerHTML.slice(0, 120))"""


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway with a session whose run waits for an approval."""
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        deployment = deployment_of(directory, stack, API_KEYS="")
        forget_administrators(deployment)
        process = GatewayProcess(deployment)
        stack.callback(process.end)
        await process.start()
        key = SECRET.search(process.output())
        assert key is not None
        async with aiohttp.ClientSession(process.url, headers={"X-API-Key": key[0]}) as http:

            async def waits() -> bool:
                async with http.get("/v1/sessions/first") as answer:
                    return bool((await answer.json())["state"] == "waiting_approval")

            tool = {"name": "lookup", "callbackUrl": "https://example.com/"}
            hook = {"url": "https://example.com/", "events": ["agent_end"]}
            for path, body in (
                ("/v1/sessions", {"sessionId": "first", "model": "demo:tour", "title": HIDDEN}),
                ("/v1/sessions/first/tools", tool),
                ("/v1/webhooks", hook),
                ("/v1/sessions/first/prompt", {"text": f"please approve this {HIDDEN}"}),
            ):
                async with http.post(path, json=body) as answer:
                    assert answer.status in (201, 202), await answer.text()
            await until(waits, 20, "the run waits for an approval")
        yield process


@pytest_asyncio.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(tmp_path / "browser") as browser:
        yield browser


async def test_no_policy_blocks_a_part_of_a_page(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = Visitor(gateway.url, browser)
    await visitor.look("/admin/login/")
    password = PASSWORD.search(gateway.output())
    assert password is not None
    await browser.fill(username="admin", password=password[1])
    await browser.click("Log in")
    pages = await visitor.visit_all("/admin/")
    for model in ("agentsession", "toolcall", "tenant", "apikey", "user", "budget", "provider", "auditentry"):
        assert any(re.search(rf"/{model}/", page) for page in pages), model
    assert any(page.startswith(SESSION) and page.endswith("/change/") for page in pages)
    await visitor.use_widgets()
    await visitor.look("/admin/password_change/")
    await visitor.look("/admin/nothing/")
    await visitor.look("/docs")
    await until(visitor.shows_operations, 30, "the API's page shows operations")
    await visitor.use_operation()
    await visitor.look_on_a_phone()
    assert browser.violations == []
    assert visitor.errors() == []
    assert visitor.too_wide == {}
    assert browser.dialogs == []


async def test_a_blocked_part_is_reported(gateway: GatewayProcess, browser: Browser) -> None:
    await browser.open(f"{gateway.url}/admin/login/")
    for script in (
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" onclick=\"alert()\">x</p>')",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'alert()'}))",
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/'}))",
    ):
        await browser.run(script)
    directives = ("style-src-attr", "script-src-elem", "img-src")

    async def reported() -> bool:
        return all(any(directive in violation for violation in browser.violations) for directive in directives)

    await until(reported, 20, "the browser reports each of them")
    assert browser.dialogs == []


class Visitor:
    """Somebody who looks at one page after the other."""

    def __init__(self, url: str, browser: Browser) -> None:
        self._url = url
        self._browser = browser
        self.too_wide: dict[str, list[str]] = {}
        """Elements that stick out of a page on a phone."""

    async def look(self, path: str) -> None:
        await self._browser.open(self._url + path)
        await self.look_on_a_phone()

    async def look_on_a_phone(self) -> None:
        """Looks at the open page in both widths and both colours."""
        path = await self._browser.path()
        for width, height in (PHONE, DESK):
            await self._browser.resize(width, height)
            for dark in (False, True):
                await self._browser.dark(dark)
                if PICTURES:
                    name = f"{re.sub(r'[^a-z]+', '-', path)}-{width}{'-dark' if dark else ''}.png"
                    await self._browser.shot(Path(PICTURES) / name)
            if (width, height) == PHONE and (wide := await self._browser.run(WIDE)):
                self.too_wide[path] = wide
        await self._browser.dark(False)

    async def visit_all(self, start: str) -> list[str]:
        """Follows the links of the admin from `start`, one example of each kind; returns the paths."""
        seen: dict[str, str] = {}
        paths = [start]
        while paths:
            path = paths.pop(0)
            kind = re.sub(r"(?<=/)[^/]+(?=/(change|history|delete)/)", "*", path).partition("?")[0]
            if kind in seen or "logout" in path:
                continue
            seen[kind] = path
            await self.look(path)
            paths += [urljoin(path, link) for link in await self._browser.run(LINKS)]
        return list(seen.values())

    async def use_widgets(self) -> None:
        """Uses what the admin's scripts make: the pickers of a date and a time, and the switch of colours."""
        await self._browser.open(f"{self._url}/admin/tenants_app/apikey/add/")
        for link in (".theme-toggle", ".datetimeshortcuts a", "#calendarlink0", "#clocklink0"):
            await self._browser.run(f"document.querySelector('{link}').click()")
        assert await self._browser.run("getComputedStyle(document.querySelector('.clockbox')).display") == "block"
        assert await self._browser.run("document.documentElement.dataset.theme") != "auto"
        await self._browser.run("localStorage.clear()")

    async def shows_operations(self) -> bool:
        """The page draws those in view, and of a long document no others."""
        return bool(await self._browser.run("document.querySelectorAll('.opblock').length > 5"))

    async def use_operation(self) -> None:
        """Opens the forms of a key and of an operation, and sends a request without a key."""
        for button, then in (
            (".btn.authorize", ".dialog-ux .auth-container"),
            (".dialog-ux .close-modal", ".opblock"),
            (".opblock-summary-control", ".opblock-body"),
            (".try-out__btn", ".btn.execute"),
            (".btn.execute", ".live-responses-table .response-col_status"),
        ):
            # A page draws a button later than the form that it is in.
            await until(partial(self._shows, button), 30, f"{button} is shown")
            await self._browser.run(f"document.querySelector('{button}').click()")
            await until(partial(self._shows, then), 30, f"{button} leads to {then}")

    async def _shows(self, selector: str) -> bool:
        return bool(await self._browser.run(f"!!document.querySelector('{selector}')"))

    def errors(self) -> list[str]:
        """The errors of the console, without those of pages that are not there and of the request without a key."""
        expected = (ICON, "/admin/nothing/", "/v1/sessions?limit=50")
        return [error for error in self._browser.errors if not error.endswith(expected)]
