"""A person's first day with the admin, in a real browser: sign in, make a tenant and a key, look, decide, revoke."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.browser.chromium import Browser, executable
from tests.stack.client import until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import forget_administrators
from tests.stack.process import GatewayProcess

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed here, so no page is looked at in it."),
    pytest.mark.timeout(600),
]

PICTURES = os.environ.get("GATEWAY_TEST_PICTURES")
"""A directory for pictures of every step, for who wants to see them."""

PASSWORD = re.compile(r"its password\s+(\S+)")
SECRET = re.compile(r"agw_[A-Za-z0-9_-]{43}")
XSS = "<script>alert('title')</script>"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway before its first start."""
    directory = tmp_path / "data"
    directory.mkdir()
    with ExitStack() as stack:
        deployment = deployment_of(directory, stack, API_KEYS="", HEARTBEAT_SECONDS="1")
        forget_administrators(deployment)
        process = GatewayProcess(deployment)
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


async def test_a_person_runs_the_gateway_from_the_admin(
    gateway: GatewayProcess, browser: Browser, http: aiohttp.ClientSession
) -> None:
    await gateway.start()
    person = Person(gateway, browser)
    await person.signs_in()
    await person.makes_a_tenant()
    secret = await person.makes_a_key()
    await person.cannot_see_it_again(secret)

    client = KeyHolder(http, gateway.url, secret)
    await client.post("/v1/sessions", {"sessionId": "first", "model": "demo:tour", "title": XSS})
    await client.post("/v1/sessions/first/prompt", {"text": f"please approve this {XSS}"})
    await until(lambda: client.is_in("waiting_approval"), 20, "the run waits for an approval")

    await person.decides_the_approval()
    await until(lambda: client.is_in("idle"), 20, "the approved run ends")
    await person.sees_the_session()
    await person.sees_the_usage()

    async with http.ws_connect(f"{gateway.url}/v1/sessions/first/ws", headers={"X-API-Key": secret}) as socket:
        await person.revokes_the_key()
        async with asyncio.timeout(60):
            while not (await socket.receive()).type.name.startswith("CLOS"):
                pass
        assert socket.close_code == 4501
    await person.reads_the_audit()
    assert browser.dialogs == []
    assert [error for error in browser.errors if "favicon" not in error] == []


class KeyHolder:
    """The holder of the new key."""

    def __init__(self, http: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._http = http
        self._url = url
        self._headers = {"X-API-Key": secret}

    async def post(self, path: str, body: dict[str, str]) -> None:
        async with self._http.post(self._url + path, json=body, headers=self._headers) as answer:
            assert answer.status in (201, 202), await answer.text()

    async def is_in(self, state: str) -> bool:
        async with self._http.get(f"{self._url}/v1/sessions/first", headers=self._headers) as answer:
            return bool((await answer.json())["state"] == state)


class Person:
    """The operator at the browser."""

    def __init__(self, gateway: GatewayProcess, browser: Browser) -> None:
        self._gateway = gateway
        self._browser = browser
        self._pictures = 0

    async def _open(self, path: str) -> None:
        await self._browser.open(f"{self._gateway.url}/admin/{path}")

    async def _picture(self, name: str) -> None:
        if PICTURES:
            self._pictures += 1
            await self._browser.shot(Path(PICTURES) / f"{self._pictures:02}-{name}.png")

    async def signs_in(self) -> None:
        await self._open("")
        await self._picture("login")
        password = PASSWORD.search(self._gateway.output())
        assert password is not None
        await self._browser.fill(username="admin", password=password[1])
        await self._browser.click("Log in")
        assert "approvals to decide" in await self._browser.text()
        await self._picture("overview")

    async def makes_a_tenant(self) -> None:
        await self._open("tenants_app/tenant/add/")
        await self._browser.fill(slug="acme", name="Acme & Sons")
        await self._picture("tenant-form")
        await self._browser.click("Save")
        assert "acme" in await self._browser.value("#result_list")
        await self._picture("tenants")

    async def makes_a_key(self) -> str:
        await self._open("tenants_app/apikey/add/")
        await self._browser.choose("tenant", "acme")
        await self._browser.fill(name="Builds", scopes="sessions")
        await self._picture("key-form")
        await self._browser.click("Save")
        await self._picture("key-shown")
        secret = await self._browser.value(".secret code")
        assert SECRET.fullmatch(secret)
        return secret

    async def cannot_see_it_again(self, secret: str) -> None:
        await self._browser.click("I have copied it")
        assert "Builds" in await self._browser.value("#result_list")
        assert secret not in await self._browser.run("document.documentElement.outerHTML")
        await self._picture("keys")

    async def decides_the_approval(self) -> None:
        await self._open("")
        await self._picture("overview-waiting")
        await self._open("tools_app/toolcall/")
        await self._picture("calls")
        await self._browser.click(await self._browser.value("#result_list .field-tool_name a"))
        await self._picture("call")
        await self._browser.click("Approve…")
        await self._picture("approve")
        assert "These calls will be made" in await self._browser.text()
        await self._browser.fill(text="It is fine.")
        await self._browser.click("Yes, approve")
        assert "is approved" in await self._browser.text()
        await self._picture("approved")

    async def sees_the_session(self) -> None:
        await self._open("sessions_app/agentsession/")
        await self._picture("sessions")
        await self._browser.click(await self._browser.value("#result_list .field-session_label a"))
        text = await self._browser.text()
        assert XSS in text
        assert "agent_end" in text
        await self._picture("session")

    async def sees_the_usage(self) -> None:
        await self._open("tenants_app/apikey/")
        await self._browser.run(
            "[...document.querySelectorAll('#result_list tr')].find(r => r.innerText.includes('Builds')).id = 'builds'"
        )
        await self._browser.open(str(await self._browser.run("document.querySelector('#builds .field-usage a').href")))
        text = await self._browser.text()
        assert "demo:tour" in text
        assert await self._browser.run("document.querySelectorAll('.chart rect').length") > 0
        await self._picture("usage")
        await self._browser.dark(True)
        await self._browser.click("By key")
        await self._picture("usage-dark")
        await self._browser.dark(False)

    async def revokes_the_key(self) -> None:
        await self._open("tenants_app/apikey/")
        await self._browser.run(
            "[...document.querySelectorAll('#result_list tr')].find(r => r.innerText.includes('Builds'))"
            ".querySelector('input.action-select').click()"
        )
        await self._browser.choose("action", "Revoke")
        await self._browser.click("Go")
        await self._picture("revoke")
        assert "cannot be brought back" in await self._browser.text()
        await self._browser.click("Yes, revoke")
        assert "Builds is revoked." in await self._browser.text()
        await self._picture("revoked")

    async def reads_the_audit(self) -> None:
        await self._open("tenants_app/auditentry/")
        text = await self._browser.text()
        await self._picture("audit")
        for action in ("admin.login", "tenant.create", "api_key.issue", "approval.approve", "api_key.revoke"):
            assert action in text, action
