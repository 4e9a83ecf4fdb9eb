"""The console in a real browser: every page and action against a server, in every view, with hostile texts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Download, Route, expect

from tests.browser.console import (
    EVIL,
    EVIL_TEXT,
    ConsoleGateway,
    check_clean,
    check_nothing_executed,
    console_gateway,
    console_page,
    console_serving,
    shows,
)
from tests.browser.pages import AUDITED, VIEWS, chromium, needs_axe, needs_chromium
from tests.stack.client import until
from tests.stack.process import GatewayProcess

pytestmark = [needs_chromium, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for all tests: each has sessions of its own."""
    with console_serving(tmp_path_factory.mktemp("console")) as process:
        yield process


@pytest_asyncio.fixture
async def gateway(process: GatewayProcess) -> AsyncIterator[ConsoleGateway]:
    """Its API, with an empty inbox."""
    async with console_gateway(process) as gateway:
        for wait in (await gateway.ask("GET", "/v1/inbox?limit=200"))["waits"]:
            await gateway.ask("POST", f"/v1/sessions/{wait['sessionId']}/abort", {})
        yield gateway


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def text_of(download: Download) -> str:
    """Returns the text of a file that the page has made."""
    path = await download.path()
    return await asyncio.to_thread(path.read_text, encoding="utf-8")


async def waiting(gateway: ConsoleGateway, name: str, text: str, state: str, **fields: Any) -> str:
    """Creates a session whose run waits."""
    await gateway.session(name, **fields)
    await gateway.prompt(name, text)

    async def waits() -> bool:
        return await gateway.state(name) == state

    await until(waits, 60, "the run waits")
    return name


@needs_axe
async def test_nothing_on_a_page_is_serious_in_any_view(gateway: ConsoleGateway, browser: Browser) -> None:
    await waiting(gateway, "first", "approve this", "waiting_approval", title="A release")
    await waiting(gateway, "second", "ask me", "waiting_input", title="A question")
    await gateway.session("third", title="Thoughts")
    await gateway.prompt("third", "think hard", wait=30)
    pages = {
        "sessions": ("/console/sessions", "#sessions tr"),
        "session": ("/console/sessions/third", ".item.end"),
        "waiting": ("/console/sessions/first", ".decision button"),
        "inbox": ("/console/inbox", ".wait .decision"),
        "nothing": ("/console/nothing", ".card"),
    }
    for view in AUDITED:
        async with console_page(browser, gateway, "operator", view) as watched:
            for name, (path, ready) in pages.items():
                await watched.open(path)
                await expect(watched.page.locator(ready).first).to_be_visible()
                assert await watched.axe() == [], (name, view)
                assert await watched.too_wide(scrolls_inside=".events, .table, pre, svg") == [], (name, view)
                await watched.picture(f"console-{name}")
            assert [error for error in watched.errors if "404" not in error] == []
            assert (watched.violations, watched.foreign) == ([], [])


async def test_the_list_is_live_and_narrowed_by_its_filters(gateway: ConsoleGateway, browser: Browser) -> None:
    await gateway.session("alpha", title="Quarterly report")
    async with console_page(browser, gateway, "viewer") as watched:
        rows = watched.page.locator("#sessions tr")
        await shows(rows.first, "Quarterly report")
        await waiting(gateway, "beta", "approve this", "waiting_approval", title="Release")
        await shows(rows.first, "waits for an approval")
        await shows(rows.first, "Release")
        await watched.page.fill("[name=search]", "quarterly")
        await watched.page.press("[name=search]", "Enter")
        await expect(rows).to_have_count(1)
        await shows(rows.first, "alpha")
        await watched.open("/console/sessions?state=waiting_approval&model=demo:tour")
        await shows(rows.first, "beta")
        await watched.open("/console/sessions?endUser=nobody")
        await expect(watched.page.locator("#empty")).to_be_visible()
        check_clean(watched)


async def test_a_person_talks_with_an_agent_and_uses_every_action(gateway: ConsoleGateway, browser: Browser) -> None:
    await gateway.session("talk", title="Talk")
    async with console_page(browser, gateway, "operator") as watched:
        page = watched.page
        await watched.open("/console/sessions/talk")
        await shows(page.locator("#connection"), "live")
        await page.fill("#prompt", "think about this")
        await page.press("#prompt", "Control+Enter")
        await shows(page.locator(".item.prompt"), "think about this")
        await shows(page.locator(".item.end"), "Done")
        await expect(page.locator(".item.thinking")).not_to_have_attribute("open", "")
        await page.click(".item.thinking summary")
        await expect(page.locator(".item.thinking .plain")).not_to_be_empty()
        await shows(page.locator("#timeline"), "Leg 1")
        await shows(page.locator("#timeline"), "first token")
        await page.locator(".event-row", has_text="agent_end").click()
        await shows(page.locator("#event-detail"), "lastMessage")

        await page.fill("#prompt", "approve this")
        await page.click("#send")
        await expect(page.locator("#abort")).to_be_visible()
        await page.click("#abort")
        await page.fill("dialog [name=reason]", "enough")
        await page.click("dialog button.danger")
        await shows(page.locator(".item.end").last, "aborted")

        await page.click("#switch-model")
        await page.fill("dialog [name=model]", "demo:echo")
        await page.click("dialog button.main")
        await shows(page.locator("#model"), "demo:echo")

        async with page.expect_download() as download:
            await page.click("#export-json")
        exported = json.loads(await text_of(await download.value))
        assert [event["id"] for event in exported["events"]] == list(range(1, len(exported["events"]) + 1))
        assert exported["messages"][0]["content"] == "think about this"
        async with page.expect_download() as download:
            await page.click("#export-markdown")
        text = await text_of(await download.value)
        assert text.startswith("# Talk\n")
        assert "think about this" in text

        await page.locator(".item.message button", has_text="Fork from here").first.click()
        await page.fill("dialog [name=title]", "Forked")
        await page.click("dialog button.main")
        await shows(page.locator("h1"), "Forked")
        await shows(page.locator("#runs .run"), "think about this")
        check_clean(watched)


async def test_a_text_joins_the_run_that_waits(gateway: ConsoleGateway, browser: Browser) -> None:
    await waiting(gateway, "steered", "approve this", "waiting_approval")
    async with console_page(browser, gateway, "operator") as watched:
        await watched.open("/console/sessions/steered")
        await expect(watched.page.locator("#steer")).to_be_visible()
        await watched.page.fill("#prompt", "be brief")
        await watched.page.click("#steer")
        await watched.page.locator(".decision button", has_text="Approve").first.click()
        await shows(watched.page.locator(".item.end"), "Done")
        await shows(watched.page.locator("#runs"), "be brief")
        check_clean(watched)


async def test_a_reload_in_the_middle_of_a_stream_loses_nothing(gateway: ConsoleGateway, browser: Browser) -> None:
    await gateway.session("long", providerOpts={"delayMs": 20})
    async with console_page(browser, gateway, "operator") as watched:
        await watched.open("/console/sessions/long")
        await shows(watched.page.locator("#connection"), "live")
        await gateway.prompt("long", "long 200")
        await expect(watched.page.locator(".item.message.streaming")).to_be_visible()
        await watched.page.reload()
        await watched.page.context.set_offline(True)
        await watched.page.context.set_offline(False)
        await shows(watched.page.locator(".item.end"), "Done")
        shown = await watched.page.locator(".item.message .markdown").inner_text()
        messages = (await gateway.ask("GET", "/v1/sessions/long/messages"))["messages"]
        assert shown.split() == messages[-1]["content"].split()
        assert watched.violations == []


async def test_what_waits_is_decided_in_place_and_by_keyboard(gateway: ConsoleGateway, browser: Browser) -> None:
    await waiting(gateway, "kone", "approve this", "waiting_approval", title="One")
    await waiting(gateway, "ktwo", "ask me", "waiting_input", title="Two")
    await waiting(gateway, "kthree", "approve this", "waiting_approval", title="Three")
    async with console_page(browser, gateway, "reviewer") as watched:
        page = watched.page
        await expect(page).to_have_title("(3) Sessions · Agent Gateway")
        await watched.open("/console/inbox")
        await expect(page.locator(".wait")).to_have_count(3)
        await page.keyboard.press("?")
        await shows(page.locator("#shortcuts"), "Always approve this tool in this session")
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        await page.keyboard.press("c")
        await shows(page.locator(".wait").first, "approve this")
        async with page.expect_request("**/v1/sessions/kone/approve") as sent:
            await page.keyboard.press("A")
        body = json.loads((await sent.value).post_data or "{}")
        assert body["remember"] == "tool"
        assert body["argsHash"]
        await expect(page.locator(".wait")).to_have_count(2)
        await expect(page).to_have_title("(2) Inbox · Agent Gateway")
        await page.keyboard.press("1")
        await expect(page.locator(".wait")).to_have_count(1)
        await page.keyboard.press("r")
        await page.fill("dialog [name=reason]", "not today")
        await page.keyboard.press("Enter")
        await expect(page.locator("#empty")).to_be_visible()
        await expect(page).to_have_title("Inbox · Agent Gateway")
        check_clean(watched)
        # The second call of the tool that was always approved asks nobody, until that is taken back.
        await gateway.prompt("kone", "approve this again", wait=30)
        assert await gateway.state("kone") == "idle"
        await watched.open("/console/sessions/kone")
        await page.click("#remembered button")
        await expect(page.locator("#remembered")).to_be_hidden()
        assert (await gateway.ask("GET", "/v1/sessions/kone/remembered-approvals"))["tools"] == []
        check_clean(watched)
    events = (await gateway.ask("GET", "/v1/sessions/kthree/events?format=json&limit=1000"))["events"]
    resolved = next(event["data"] for event in events if event["event"] == "approval_resolved")
    assert (resolved["status"], resolved["by"], resolved["comment"]) == ("rejected", "user:the-reviewer", "not today")


async def test_a_viewer_sees_everything_and_cannot_act(gateway: ConsoleGateway, browser: Browser) -> None:
    await waiting(gateway, "seen", "approve this", "waiting_approval")
    async with console_page(browser, gateway, "viewer") as watched:
        page = watched.page
        assert await page.locator("#menu a", has_text="Inbox").count() == 0
        await watched.open("/console/sessions/seen")
        await shows(page.locator(".item.tool"), "Your role may not decide this.")
        for action in ("#abort", "#switch-model", "#fork", "#say", ".decision button"):
            assert await page.locator(action).count() == 0, action
        csrf = json.loads(await page.locator("#console-data").inner_text())["csrf"]
        approval = (await gateway.ask("GET", "/v1/inbox"))["waits"][0]["approval"]
        headers = {"X-CSRFToken": csrf, "Origin": gateway.url}
        tries = {
            "approve": {"approvalId": approval["approvalId"]},
            "reject": {"approvalId": approval["approvalId"]},
            "prompt": {"text": "hello"},
            "abort": {},
            "steer": {"text": "hello"},
            "switch_model": {"model": "demo:echo"},
        }
        for action, body in tries.items():
            refused = await page.request.post(f"{gateway.url}/v1/sessions/seen/{action}", data=body, headers=headers)
            assert (refused.status, (await refused.json())["error"]) == (403, "forbidden"), action
        assert (await page.request.get(f"{gateway.url}/console/inbox")).status == 403
        check_clean(watched)


async def test_texts_of_people_models_and_tools_stay_texts(gateway: ConsoleGateway, browser: Browser) -> None:
    tools = [{"name": "lookup", "description": EVIL}]
    await gateway.session("evil", title=EVIL[:200], tools=tools, userData={"note": EVIL})
    await gateway.prompt("evil", EVIL_TEXT, wait=30, endUser=EVIL[:200])
    run = await gateway.prompt("evil", 'use lookup {"query": "<img src=x onerror=alert(1)>"}')

    async def asked() -> bool:
        return await gateway.state("evil") == "waiting_tool"

    await until(asked, 60, "the tool is asked for")
    call = (await gateway.ask("GET", "/v1/sessions/evil/status"))["pendingTools"][0]
    await gateway.ask("POST", "/v1/sessions/evil/tool-results", {"callId": call["callId"], "result": EVIL_TEXT})
    assert run["requestId"]
    async with console_page(browser, gateway, "operator") as watched:
        page = watched.page
        await shows(page.locator("#sessions"), "<script>")
        await check_nothing_executed(watched)
        await watched.open("/console/sessions/evil")
        await expect(page.locator(".item.end")).to_have_count(2)
        for shown in ("<img src=x", "Image: pixel", "javascript:alert(1)"):
            await shows(page.locator("#runs"), shown)
        assert (
            await page.locator("#runs a", has_text="good").first.get_attribute("rel") == "noopener noreferrer nofollow"
        )
        addresses = await page.evaluate("[...document.querySelectorAll('#runs a')].map(a => a.href)")
        assert set(addresses) == {"https://example.com/a", "http://127.0.0.1:9/p.png"}
        await check_nothing_executed(watched)
        check_clean(watched)


async def test_hostile_names_of_agents_and_tools_stay_texts(gateway: ConsoleGateway, browser: Browser) -> None:
    await waiting(gateway, "named", "approve this", "waiting_approval")

    async def with_evil_names(route: Route) -> None:
        body = await (await route.fetch()).text()
        evil = json.dumps(EVIL)[1:-1]
        body = (
            body.replace('"agent":null', f'"agent":"{evil}"').replace("demo_approval", evil).replace("demo:tour", evil)
        )
        await route.fulfill(status=200, content_type="application/json", body=body)

    async with console_page(browser, gateway, "operator") as watched:
        await watched.page.route("**/v1/**", with_evil_names)
        for path, place in (
            ("/console/sessions", "#sessions"),
            ("/console/inbox", ".wait h2"),
            ("/console/sessions/named", ".item.tool"),
        ):
            await watched.open(path)
            await shows(watched.page.locator(place).first, "<script>")
            await check_nothing_executed(watched)
        check_clean(watched)


async def test_the_language_is_the_browsers_until_it_is_chosen(gateway: ConsoleGateway, browser: Browser) -> None:
    await waiting(gateway, "sprache", "approve this", "waiting_approval")
    async with console_page(browser, gateway, "operator", locale="zh-CN") as watched:
        page = watched.page
        await shows(page.locator("h1"), "会话")
        await shows(page.locator("#sessions"), "等待审批")
        await watched.open("/console/inbox")
        await shows(page.locator(".decision").first, "批准")
        await page.click("button[name=language]")
        await shows(page.locator("h1"), "Inbox")
        await shows(page.locator(".decision").first, "Approve")
        assert page.url.endswith("/console/inbox")
        check_clean(watched)


async def test_the_menu_of_a_phone_opens_and_closes(gateway: ConsoleGateway, browser: Browser) -> None:
    async with console_page(browser, gateway, "operator", VIEWS[2]) as watched:
        menu, button = watched.page.locator("#menu"), watched.page.locator(".menu-button")
        await expect(menu).to_be_hidden()
        await button.click()
        await expect(button).to_have_attribute("aria-expanded", "true")
        await menu.get_by_text("Inbox").press("Escape")
        await expect(menu).to_be_hidden()
        await expect(button).to_be_focused()
        check_clean(watched)


async def test_an_error_is_shown_with_its_id(gateway: ConsoleGateway, browser: Browser) -> None:
    await gateway.session("broken")
    refusal = {"error": "internal_error", "message": "Something failed.", "errorId": "err_of_a_test"}

    async def fail(route: Route) -> None:
        await route.fulfill(status=500, content_type="application/json", body=json.dumps(refusal))

    async with console_page(browser, gateway, "operator") as watched:
        await watched.open("/console/sessions/broken")
        await shows(watched.page.locator("#connection"), "live")
        await watched.page.route("**/prompt", fail)
        await watched.page.fill("#prompt", "hello")
        await watched.page.click("#send")
        await shows(watched.page.locator(".toast.failed"), "err_of_a_test")


async def test_the_end_of_a_sign_in_leads_to_the_sign_in_and_back(gateway: ConsoleGateway, browser: Browser) -> None:
    async with console_page(browser, gateway, "viewer") as watched:
        await watched.page.context.clear_cookies()
        await watched.page.wait_for_url("**/console/sign-in?next=%2Fconsole%2Fsessions")
