"""The console's pages for work in a real browser: playground, usage, operations, agents, tasks, spaces, events, keys.

One gateway serves all tests of the module; each page is audited in every view by `test_console_audit`.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Download, Page, expect

from tests.browser.console_people import console_page, people_sign_in
from tests.browser.pages import VIEWS, WatchedPage, chromium, needs_axe, needs_chromium
from tests.client.node import node
from tests.stack.client import Client
from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY
from tests.stack.process import ROOT, GatewayProcess

pytestmark = [needs_chromium, pytest.mark.timeout(900)]

XSS = "<img src=x onerror=alert(1)>"
SCROLLS_INSIDE = ".table, pre, svg, .unseen, .skip"
PAGES = (
    "playground",
    "agents",
    "agents/demo",
    "tasks",
    "spaces",
    "events",
    "usage",
    "usage?by=key",
    "usage?by=agent",
    "usage?by=end_user",
    "operations",
    "keys",
)


class Console:
    """A gateway with people, and a client that makes what the pages show."""

    def __init__(self, gateway: GatewayProcess, keys: Mapping[str, str], browser: Browser, client: Client) -> None:
        self.gateway = gateway
        self.keys = keys
        self.browser = browser
        self.client = client

    def page(self, role: str, view: Any = None, language: str = "en") -> Any:
        """Opens a page of the person with this role."""
        return console_page(self.browser, self.gateway, self.keys[role], view, language)


@pytest_asyncio.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        deployment = deployment_of(directory, stack, DEMO_DELAY_MS="1")
        keys = people_sign_in(deployment)
        process = GatewayProcess(deployment)
        stack.callback(process.end)
        await process.start()
        async with aiohttp.ClientSession() as http, chromium() as browser:
            yield Console(process, keys, browser, Client(http, process.url))


def is_clean(watched: WatchedPage) -> bool:
    """True when nothing went wrong on the page; else AssertionError names it."""
    found = (watched.errors, watched.violations, watched.foreign, watched.dialogs)
    assert found == ([], [], [], []), found
    return True


async def downloaded(download: Download) -> str:
    """Returns the text of a downloaded file."""
    path = Path(await download.path())
    return await asyncio.to_thread(path.read_text, "utf-8-sig")


async def prompt(page: Page, text: str) -> None:
    await page.get_by_label("Prompt", exact=True).fill(text)
    await page.get_by_role("button", name="Send").click()


async def test_a_person_talks_in_the_playground(console: Console) -> None:
    async with console.page("operator") as watched:
        page = watched.page
        await watched.open("/console/playground")
        await page.get_by_label("Model or agent").select_option("model:demo:tour")
        await prompt(page, f"hello {XSS} **bold**")
        talk = page.get_by_role("region", name="demo:tour")
        await expect(talk.locator(".turn.mine")).to_have_text(f"hello {XSS} **bold**")
        await expect(talk.get_by_text(re.compile("whole run .* tokens"))).to_be_visible()
        await expect(talk.locator("img")).to_have_count(0)
        await expect(talk.get_by_role("link", name="its session")).to_have_attribute(
            "href", re.compile("^sessions/ses_")
        )
        # The second prompt belongs to the same conversation.
        await prompt(page, "think about it")
        await expect(talk.locator(".turn.thought")).to_be_visible()
        await expect(talk.locator(".turn.mine")).to_have_count(2)
        await page.get_by_role("button", name="New conversation").click()
        await expect(page.locator(".turn")).to_have_count(0)
        await watched.picture("playground")
        assert is_clean(watched)


async def test_two_models_are_compared_side_by_side(console: Console) -> None:
    async with console.page("operator") as watched:
        page = watched.page
        await watched.open("/console/playground")
        await page.get_by_label("Compare with another one").check()
        await page.get_by_label("Model or agent").select_option("model:demo:echo")
        await page.get_by_label("The other one").select_option("agent:demo")
        await prompt(page, "hello to both")
        await expect(page.locator(".talk")).to_have_count(2)
        await expect(page.get_by_text(re.compile("whole run .* tokens"))).to_have_count(2)
        await expect(page.locator(".turn.markdown").filter(has_text="hello to both").first).to_be_visible()
        await watched.picture("compare")
        assert is_clean(watched)


async def test_the_answer_of_an_own_tool_is_typed_by_hand(console: Console) -> None:
    async with console.page("operator") as watched:
        page = watched.page
        await watched.open("/console/playground")
        await page.get_by_label("Model or agent").select_option("model:demo:tour")
        await page.locator("summary", has_text="Tools").click()
        await page.get_by_label("ask_user").check()
        await page.get_by_role("button", name="Add a tool").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("weather")
        await dialog.get_by_label("Description, for the model").fill("The weather of a city")
        await dialog.get_by_role("button", name="Add").click()
        await prompt(page, 'use weather {"city": "<b>Rome</b>"}')
        form = page.locator("form.asks")
        await expect(form).to_contain_text('"city": "<b>Rome</b>"')
        await form.get_by_label("The tool's answer").fill('{"degrees": 31}')
        await form.get_by_role("button", name="Answer").click()
        await expect(page.locator(".turn.markdown").last).to_contain_text("31")
        await prompt(page, "ask me")
        question = page.locator("form.asks")
        await question.get_by_role("button").first.click()
        await expect(question).to_have_count(0)
        await expect(page.get_by_role("button", name="Send")).to_be_enabled()
        await watched.picture("tools")
        assert is_clean(watched)


async def test_calls_are_approved_and_rejected_in_the_playground(console: Console) -> None:
    async with console.page("operator") as watched:
        page = watched.page
        await watched.open("/console/playground")
        await page.get_by_label("Model or agent").select_option("model:demo:tour")
        for button, said in (("Approve", "You approved"), ("Reject", "You rejected")):
            await prompt(page, f"please approve this {XSS}")
            await page.get_by_role("button", name=button).click()
            await expect(page.get_by_text(said)).to_be_visible()
            await expect(page.get_by_role("button", name="Send")).to_be_enabled()
        assert is_clean(watched)


async def test_a_run_of_the_playground_is_stopped(console: Console) -> None:
    async with console.page("operator") as watched:
        page = watched.page
        await watched.open("/console/playground")
        await page.get_by_label("Model or agent").select_option("model:demo:tour")
        await prompt(page, "long 50000")
        await expect(page.locator(".turn.markdown")).to_contain_text("lorem")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(".turn.failed")).to_be_visible()
        await expect(page.get_by_role("button", name="Send")).to_be_enabled()
        assert is_clean(watched)


async def copied_program(page: Page, language: str) -> str:
    """Returns the program that the page offers in this language."""
    await page.get_by_role("button", name=f"Copy as {language}").click()
    dialog = page.get_by_role("dialog")
    text = await dialog.locator("pre").text_content()
    await dialog.get_by_role("button", name="Close").click()
    assert text is not None
    return text


async def run_program(*command: str, **variables: str) -> str:
    """Runs a program that the page has written; returns its output."""
    environment = os.environ | {"GATEWAY_KEY": KEY} | variables
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_copied_programs_do_the_same(console: Console, tmp_path: Path) -> None:
    text = 'it\'s "quoted" \\ and $HOME `here` 你好'
    async with console.page("operator") as watched:
        page = watched.page
        await watched.open("/console/playground")
        await page.get_by_label("Model or agent").select_option("model:demo:echo")
        await page.get_by_label("System prompt").fill('Say "it\'s" \\n twice')
        await page.locator("summary", has_text="Parameters").click()
        await page.get_by_label("Temperature").fill("0.5")
        await page.get_by_label("Most turns").fill("7")
        await page.locator("summary", has_text="Tools").click()
        await page.get_by_label("current_time").check()
        await page.get_by_label("Prompt", exact=True).fill(text)
        programs = {name: await copied_program(page, name) for name in ("curl", "Python", "JavaScript")}
        assert KEY not in "".join(programs.values())
        assert is_clean(watched)
    shell, python = tmp_path / "program.sh", tmp_path / "program.py"
    shell.write_text(programs["curl"], encoding="utf-8")
    python.write_text(programs["Python"], encoding="utf-8")
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "agent-gateway-client").symlink_to(ROOT / "clients/typescript")
    script = tmp_path / "program.mjs"
    script.write_text(programs["JavaScript"], encoding="utf-8")
    assert "agent_end" in await run_program("sh", str(shell))
    assert text in await run_program(sys.executable, str(python), PYTHONPATH=str(ROOT))
    assert text in await run_program(node(), str(script))
    sessions = (await console.client.get("/v1/sessions"))["sessions"]
    assert len(sessions) >= 2
    made = console.gateway.deployment.rows("SELECT system_prompt, max_turns, options FROM sessions_app_agentsession")
    assert {(prompt, turns, json.loads(options)["temperature"]) for prompt, turns, options in made} == {
        ('Say "it\'s" \\n twice', 7, 0.5)
    }


async def test_usage_is_shown_and_downloaded(console: Console) -> None:
    await console.client.create("used", model="demo:tour")
    body = {"text": "hello", "endUser": "=cmd|' /C calc'!A0"}
    await console.client.post("/v1/sessions/used/prompt?wait=60", body, expect=200)
    await console.client.post("/v1/sessions/used/prompt?wait=60", {"text": "fail now", "endUser": XSS}, expect=200)
    async with console.page("viewer") as watched:
        page = watched.page
        await watched.open("/console/usage")
        await expect(page.get_by_role("img", name=re.compile("^Tokens: [0-9]"))).to_be_visible()
        await expect(page.get_by_role("img", name=re.compile("^Time to the first output: [0-9]"))).to_be_visible()
        await page.locator("summary", has_text="Errors as a table").click()
        await expect(page.get_by_role("region", name="Errors").get_by_role("cell", name="1")).to_be_visible()
        await page.get_by_role("combobox", name="By").select_option("end_user")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_text(XSS)).to_be_visible()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download CSV").click()
        rows = list(csv.DictReader(io.StringIO(await downloaded(await download.value))))
        assert {row["name"]: row["failed"] for row in rows} == {"'=cmd|' /C calc'!A0": "0", XSS: "1"}
        assert not [value for row in rows for value in row.values() if value.startswith(("=", "+", "@"))]
        await page.get_by_role("textbox", name="From").fill("2026-01-02")
        await page.get_by_role("textbox", name="To").fill("2026-01-01")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_role("alert")).to_have_text("The first day comes after the last.")
        assert is_clean(watched)


async def test_operations_are_live_and_bound_to_the_scope(console: Console) -> None:
    await console.client.create("broken", model="demo:tour")
    async with console.page("operator") as own, console.page("platform") as whole:
        await own.open("/console/operations")
        await whole.open("/console/operations")
        await expect(own.page.get_by_text("No run failed.")).to_be_visible()
        await console.client.post("/v1/sessions/broken/prompt?wait=60", {"text": "fail now"}, expect=200)
        for watched in (own, whole):
            failed = watched.page.get_by_role("region", name="Failed runs of the last seven days")
            await expect(failed.get_by_role("link", name="broken")).to_be_visible()
            await expect(failed).to_contain_text("upstream_error")
        await expect(whole.page.get_by_role("heading", name="Providers")).to_be_visible()
        await expect(own.page.get_by_role("heading", name="Providers")).to_have_count(0)
        await expect(own.page.get_by_text("OPENAI_API_KEY")).to_have_count(0)
        assert is_clean(own)
        assert is_clean(whole)


async def test_tasks_are_followed_and_cancelled(console: Console) -> None:
    async with console.page("operator") as watched, console.page("viewer") as looking:
        page = watched.page
        await watched.open("/console/tasks")
        await looking.open("/console/tasks")
        await expect(page.get_by_text("There is no such task.")).to_be_visible()
        payload = {"task": "long 60000", "options": {"stream": True}}
        sent = await console.client.post("/tasks", {"target": "demo", "payload": payload}, expect=202)
        row = page.get_by_role("row", name=re.compile(sent["task_id"]))
        await expect(row.locator(".state")).to_have_text("running")
        await expect(looking.page.get_by_role("row", name=re.compile(sent["task_id"]))).to_be_visible()
        await expect(looking.page.get_by_role("button", name=re.compile("^Cancel"))).to_have_count(0)
        await row.get_by_role("link", name=sent["task_id"]).click()
        await expect(page.locator("#text")).to_contain_text("lorem")
        await page.get_by_role("button", name="Cancel the task").click()
        await expect(page.locator("#fields .state")).to_have_text("cancelled")
        await expect(page.get_by_role("button", name="Cancel the task")).to_be_hidden()
        await watched.open("/console/tasks")
        await expect(page.get_by_role("row", name=re.compile(sent["task_id"])).locator(".state")).to_have_text(
            "cancelled"
        )
        await expect(looking.page.locator("#rows .state")).to_have_text("cancelled")
        await page.get_by_label("Status").select_option("running")
        await expect(page.get_by_text("There is no such task.")).to_be_visible()
        assert is_clean(watched)
        assert is_clean(looking)


async def test_a_space_is_read_searched_and_written(console: Console) -> None:
    space = (await console.client.post("/spaces", {"metadata": {"for": XSS}}, expect=201))["space_id"]
    await console.client.post(f"/spaces/{space}/messages", {"content": f"**Whales** sing {XSS}"}, expect=201)
    async with console.page("operator") as watched, console.page("viewer") as looking:
        page = watched.page
        await watched.open("/console/spaces")
        await expect(page.get_by_role("row", name=re.compile(space))).to_contain_text(XSS)
        await page.get_by_role("link", name=space).click()
        await expect(page.locator("#messages strong", has_text="Whales")).to_be_visible()
        await looking.open(f"/console/spaces/{space}")
        await expect(looking.page.locator("#write")).to_be_hidden()
        await page.get_by_label("Message", exact=True).fill("From a person")
        await page.get_by_role("button", name="Send").click()
        await expect(looking.page.get_by_text("From a person")).to_be_visible()
        await page.get_by_label("Search messages and files").fill("whales")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("#found")).to_contain_text("sing")
        await expect(page.locator("main img")).to_have_count(0)
        await watched.picture("space")
        assert is_clean(watched)
        assert is_clean(looking)


async def test_a_file_of_a_space_is_downloaded_and_never_shown_as_a_page(console: Console) -> None:
    space = (await console.client.post("/spaces", {}, expect=201))["space_id"]
    address = f"{console.gateway.url}/spaces/{space}/artifacts/page.html"
    async with aiohttp.ClientSession(headers={"X-API-Key": KEY}) as http:
        put = await http.put(address, data=f"<p>{XSS}</p>", headers={"Content-Type": "text/html"})
        assert put.status in (200, 201)
    async with console.page("viewer") as watched:
        await watched.open(f"/console/spaces/{space}")
        async with watched.page.expect_download() as download:
            await watched.page.get_by_role("link", name="page.html").click()
        assert XSS in await downloaded(await download.value)
        assert is_clean(watched)


async def test_events_come_live_and_can_be_held(console: Console) -> None:
    async with console.page("viewer") as watched:
        page = watched.page
        await watched.open("/console/events")
        await expect(page.get_by_text("Connected.")).to_be_visible()
        first = await console.client.post("/tasks", {"target": "demo", "payload": {"task": "hello"}}, expect=202)
        log = page.get_by_role("list", name="Events")
        await expect(log.get_by_text("task.completed")).to_be_visible()
        await expect(log.get_by_text(first["task_id"]).first).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        second = await console.client.post("/tasks", {"target": "demo", "payload": {"task": "again"}}, expect=202)
        await expect(page.get_by_text(re.compile("^Paused; [1-9]"))).to_be_visible()
        await expect(log.get_by_text(second["task_id"])).to_have_count(0)
        await page.get_by_role("button", name="Go on").click()
        await expect(log.get_by_text(second["task_id"]).first).to_be_visible()
        await page.get_by_label("Only types that contain").fill("submitted")
        await expect(log.get_by_text("task.started").first).to_be_hidden()
        await page.get_by_role("button", name="Clear").click()
        await expect(page.get_by_text("Nothing has happened yet.")).to_be_visible()
        assert is_clean(watched)


async def test_agents_are_listed_with_their_definition(console: Console) -> None:
    body = {"id": "sly", "name": XSS, "type": "model", "model": "demo:echo", "system_prompt": XSS}
    await console.client.post("/agents", body, expect=201)
    async with console.page("viewer") as watched:
        page = watched.page
        await watched.open("/console/agents")
        row = page.get_by_role("row", name=re.compile("sly"))
        await expect(row).to_contain_text("online")
        await row.get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(XSS)
        await expect(page.locator("pre")).to_have_text(XSS)
        await expect(page.locator("main img")).to_have_count(0)
        assert is_clean(watched)


async def test_a_key_is_issued_rotated_and_revoked(console: Console) -> None:
    async def status(secret: str) -> int:
        async with aiohttp.ClientSession(headers={"X-API-Key": secret}) as http:
            return (await http.get(f"{console.gateway.url}/v1/sessions")).status

    async with console.page("admin") as watched:
        page = watched.page
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await watched.open("/console/keys")
        await page.get_by_role("button", name="Issue a key").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill(XSS)
        await dialog.get_by_role("checkbox", name="sessions", exact=True).check()
        await dialog.get_by_label(re.compile("^Requests per minute")).fill("120")
        await dialog.get_by_label(re.compile("^Expires")).fill("2999-01-01T00:00")
        await dialog.get_by_role("button", name="Issue").click()
        first = str(await page.locator("#secret").text_content())
        await page.get_by_role("button", name="Copy").click()
        assert await page.evaluate("navigator.clipboard.readText()") == first
        await watched.picture("secret")
        await page.get_by_role("button", name="I have stored it").click()
        row = page.get_by_role("row", name=re.compile("img src"))
        await expect(row).to_contain_text("120")
        await expect(row).to_contain_text("2999-01-01")
        assert first not in await page.content()
        assert await status(first) == 200

        await row.get_by_role("button", name=re.compile("^Rotate")).click()
        await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
        second = str(await page.locator("#secret").text_content())
        await page.get_by_role("button", name="I have stored it").click()
        assert [await status(first), await status(second)] == [401, 200]

        await row.get_by_role("button", name=re.compile("^Revoke")).click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(row.locator(".state")).to_have_text("revoked")
        assert await status(second) == 401
        await page.reload()
        assert second not in await page.content()
        await expect(page.locator("main img")).to_have_count(0)
        assert is_clean(watched)


async def test_people_see_and_do_what_their_role_allows(console: Console) -> None:
    hidden = {
        "viewer": ("playground", "operations", "keys"),
        "reviewer": ("playground", "operations", "keys"),
        "operator": ("keys",),
        "admin": (),
    }
    for role, pages in hidden.items():
        async with console.page(role) as watched:
            await watched.open("/console/usage")
            names = await watched.page.locator("#menu li a").evaluate_all("links => links.map(link => link.pathname)")
            for page in ("playground", "operations", "keys", "usage", "agents", "tasks", "spaces", "events"):
                shown = f"/console/{page}" in names
                assert shown is (page not in pages), (role, page)
                answer = await watched.page.request.get(f"{console.gateway.url}/console/{page}")
                assert answer.status == (200 if shown else 403), (role, page)
            assert is_clean(watched)


@needs_axe
async def test_nothing_on_any_page_is_serious_or_too_wide(console: Console) -> None:
    await console.client.create("seen", model="demo:tour", title=XSS)
    body = {"text": f"hello {XSS}", "endUser": XSS}
    await console.client.post("/v1/sessions/seen/prompt?wait=60", body, expect=200)
    await console.client.post("/v1/sessions/seen/prompt?wait=60", {"text": "fail now"}, expect=200)
    space = (await console.client.post("/spaces", {"metadata": {"for": XSS * 20}}, expect=201))["space_id"]
    await console.client.post(f"/spaces/{space}/messages", {"content": "word " * 200}, expect=201)
    task = await console.client.post("/tasks", {"target": "demo", "payload": {"task": "hello"}}, expect=202)
    for view, language in ((VIEWS[0], "en"), (VIEWS[1], "zh-CN"), (VIEWS[2], "zh-CN"), (VIEWS[3], "en")):
        async with console.page("platform", view, language) as watched:
            for path in (*PAGES, f"spaces/{space}", f"tasks/{task['task_id']}"):
                await watched.open(f"/console/{path}")
                await expect(watched.page.get_by_text("Loading …")).to_have_count(0)
                assert await watched.axe() == [], (view, path)
                assert await watched.too_wide(scrolls_inside=SCROLLS_INSIDE) == [], (view, path)
                assert await watched.page.locator("main img").count() == 0
                await watched.picture(path.replace("/", "-").replace("?", "-"))
            assert is_clean(watched)
