"""The admin on a desk and a phone, in light and dark: nothing serious for axe, nothing too wide, and the work done.

An operator sets up a provider and a tenant; a reviewer decides on a call with the user's words in view.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, StorageState, expect

from tests.browser.pages import AUDITED, PHONE, View, WatchedPage, chromium, needs_axe, needs_chromium, watched_page
from tests.browser.test_admin_walk import PASSWORD, SECRET
from tests.stack.client import until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import forget_administrators
from tests.stack.process import GatewayProcess

pytestmark = [needs_chromium, needs_axe, pytest.mark.timeout(900)]

WORDS = "please approve the refund of order 4711"
REASON = "The scripted failure that was asked for."
PAGES = {
    "overview": "/admin/",
    "sessions": "/admin/sessions_app/agentsession/",
    "calls": "/admin/tools_app/toolcall/",
    "providers": "/admin/inference_app/provider/",
    "provider-form": "/admin/inference_app/provider/add/?name=deepseek",
    "tenant-form": "/admin/tenants_app/tenant/add/",
    "keys": "/admin/tenants_app/apikey/",
    "key-form": "/admin/tenants_app/apikey/add/",
    "users": "/admin/tenants_app/user/",
    "budget-form": "/admin/inference_app/budget/add/",
    "usage": "/admin/usage/",
    "webhooks": "/admin/events_app/webhookendpoint/",
    "audit": "/admin/tenants_app/auditentry/",
    "servers": "/admin/tools_app/mcpserver/",
}
"""Beside these: the sign-in, the pages of a session, of a call, and of a decision."""


class Visited:
    """A served gateway with something on every page."""

    def __init__(self, process: GatewayProcess, http: aiohttp.ClientSession, password: str) -> None:
        self.process = process
        self.url = process.url
        self.password = password
        self._http = http

    async def post(self, path: str, body: dict[str, object]) -> None:
        async with self._http.post(path, json=body) as answer:
            assert answer.status in (200, 201, 202), await answer.text()

    async def is_in(self, session: str, state: str) -> bool:
        async with self._http.get(f"/v1/sessions/{session}") as answer:
            return bool((await answer.json())["state"] == state)


@pytest_asyncio.fixture
async def visited(tmp_path: Path) -> AsyncIterator[Visited]:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        deployment = deployment_of(directory, stack, API_KEYS="", CALLBACK_ALLOW_PRIVATE="true")
        forget_administrators(deployment)
        process = GatewayProcess(deployment)
        stack.callback(process.end)
        await process.start()
        key, password = SECRET.search(process.output()), PASSWORD.search(process.output())
        assert key is not None
        assert password is not None
        async with aiohttp.ClientSession(process.url, headers={"X-API-Key": key[0]}) as http:
            made = Visited(process, http, password[1])
            await made.post("/v1/webhooks", {"url": "http://127.0.0.1:9/", "events": ["agent_end", "agent_abort"]})
            for session, words in (("waits", WORDS), ("failed", "fail please"), ("done", "think and answer")):
                await made.post(
                    "/v1/sessions", {"sessionId": session, "model": "demo:tour", "title": f"Title {session}"}
                )
                await made.post(
                    f"/v1/sessions/{session}/prompt?wait=30"
                    if session != "waits"
                    else f"/v1/sessions/{session}/prompt",
                    {"text": words},
                )
            await until(lambda: made.is_in("waits", "waiting_approval"), 30, "the run waits for an approval")
            yield made


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def signed_in(browser: Browser, visited: Visited) -> StorageState:
    """Signs in once; other pages get the cookies."""
    async with watched_page(browser, visited.url) as watched:
        await watched.open("/admin/login/")
        await watched.page.fill("[name=username]", "admin")
        await watched.page.fill("[name=password]", visited.password)
        await watched.page.press("[name=password]", "Enter")
        await expect(watched.page.locator("#content")).to_contain_text("approvals to decide")
        return await watched.state()


class Audit:
    """The findings of a walk, by the name of the page: what axe calls serious, and what is wider than the window."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    async def look(self, watched: WatchedPage, name: str) -> None:
        """Takes a picture of the page, and audits it."""
        await watched.picture(name)
        if found := [*await watched.axe(), *(f"too wide: {element}" for element in await watched.too_wide())]:
            self.found[name] = found


def faultless(watched: WatchedPage) -> None:
    faults = (watched.errors, watched.violations, watched.foreign, watched.dialogs)
    assert faults == ([], [], [], [])


@pytest.mark.parametrize("view", AUDITED, ids=str)
async def test_every_page_is_accessible_and_fits(browser: Browser, visited: Visited, view: View) -> None:
    state, audit = await signed_in(browser, visited), Audit()
    # axe sets styles of its own, which the policy blocks and reports; test_pages.py looks at the policy.
    async with watched_page(browser, visited.url, view, bypass_csp=True) as watched:
        await watched.open("/admin/login/")
        await audit.look(watched, "sign-in")
        faultless(watched)
    async with watched_page(browser, visited.url, view, state=state, bypass_csp=True) as watched:
        for name, path in PAGES.items():
            await watched.open(path)
            await audit.look(watched, name)
        page = watched.page
        await watched.open(PAGES["sessions"])
        failed = page.locator("#result_list tr", has_text="failed").first
        await expect(failed.locator(".state-failed")).to_have_count(1)
        await failed.locator("a").first.click()
        await expect(page.locator(".errornote")).to_contain_text("The last run failed")
        await audit.look(watched, "session-failed")
        await watched.open(PAGES["sessions"])
        await page.locator("#result_list tbody a", has_text="done").first.click()
        await expect(page.locator("table.timeline")).to_contain_text("model")
        await audit.look(watched, "session")
        await watched.open(PAGES["calls"])
        await page.locator("#result_list tbody a").first.click()
        await expect(page.locator("blockquote.prompt")).to_contain_text(WORDS)
        await audit.look(watched, "call")
        await page.get_by_role("button", name="Approve…").click()
        await expect(page.locator("form.confirm")).to_contain_text(WORDS)
        await audit.look(watched, "decide")
        assert audit.found == {}
        faultless(watched)


async def test_a_reviewer_decides_on_a_phone(browser: Browser, visited: Visited) -> None:
    state = await signed_in(browser, visited)
    async with watched_page(browser, visited.url, View(*PHONE), state=state) as watched:
        page = watched.page
        await watched.open("/admin/tenants_app/auditentry/")
        await menu_to(page, "Tool calls")
        await page.locator("#result_list tbody a").first.click()
        await page.get_by_role("button", name="Approve…").click()
        await page.get_by_text("The conversation before").click()
        await expect(page.locator("form.confirm .message").first).to_be_visible()
        await page.fill("[name=text]", "It is fine.")
        await page.get_by_role("button", name="Yes, approve").click()
        await expect(page.locator(".messagelist")).to_contain_text("is approved")
        await until(lambda: visited.is_in("waits", "idle"), 30, "the approved run ends")
        await menu_to(page, "Sessions")
        await page.locator("#result_list tbody a", has_text="waits").first.click()
        await expect(page.locator("table.timeline")).to_contain_text("waits for approval")
        await expect(page.locator("table.timeline")).to_contain_text("approved by user:admin")
        await watched.picture("timeline")
        faultless(watched)


async def test_an_operator_sets_up_a_provider_and_a_tenant(browser: Browser, visited: Visited) -> None:
    state = await signed_in(browser, visited)
    async with watched_page(browser, visited.url, state=state) as watched:
        page = watched.page
        await watched.open(PAGES["providers"])
        await expect(row(page, "deepseek")).to_contain_text("DEEPSEEK_API_KEY")
        await row(page, "deepseek").get_by_role("link").click()
        await expect(page.locator("[name=name]")).to_have_value("deepseek")
        await page.fill("[name=key]", "sk-nobody-knows")
        await page.fill("[name=base_url]", "http://127.0.0.1:9/v1")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(row(page, "deepseek")).to_contain_text("database, shipped")
        await expect(row(page, "deepseek")).to_contain_text("ready")
        await page.get_by_role("button", name="Test deepseek").click()
        await expect(page.locator(".messagelist .error")).to_contain_text("127.0.0.1")
        await watched.picture("provider-tested")
        await page.locator("#result_list tbody a").first.click()
        await page.fill("[name=base_url]", "nowhere")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator(".errorlist").first).to_contain_text("base_url must begin with http")
        await watched.picture("provider-refused")
        await watched.open(PAGES["tenant-form"])
        await page.fill("[name=slug]", "acme")
        await page.fill("[name=name]", "Acme & Sons")
        await page.fill("[name=rpm]", "300")
        await page.select_option("[name=store_responses]", "no")
        await page.get_by_role("button", name="Save", exact=True).click()
        await page.locator("#result_list").get_by_role("link", name="acme").click()
        await expect(page.locator("[name=rpm]")).to_have_value("300")
        await expect(page.locator("[name=store_responses]")).to_have_value("no")
        faultless(watched)


async def test_a_webhook_that_fails_says_so(browser: Browser, visited: Visited) -> None:
    state = await signed_in(browser, visited)
    async with watched_page(browser, visited.url, state=state) as watched:

        async def failing() -> bool:
            await watched.open(PAGES["webhooks"])
            return "failing" in await watched.page.locator("#result_list").inner_text()

        await until(failing, 60, "the delivery has failed")
        await expect(watched.page.locator("#result_list")).to_contain_text(re.compile(r"unreachable, \d+ attempt"))


def row(page: Page, name: str) -> Locator:
    """Returns the row of a provider in force."""
    return page.locator("table.rows tr", has=page.locator("th", has_text=re.compile(rf"^{name}$")))


async def menu_to(page: Page, name: str) -> None:
    """Goes to a page by the menu."""
    await page.get_by_text("Menu", exact=True).click()
    await page.locator("details.menu").get_by_role("link", name=name, exact=True).click()
