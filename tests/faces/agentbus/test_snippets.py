"""The lines that clients are told to write: addresses, loops, curl, and the examples of the protocol's document."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web
from django.conf import settings as configured
from websockets.asyncio.client import connect

from core_app import database
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import Tenant
from tenants_app.services import gateway_user_ensure, tenant_create
from tests.conftest import Caller
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT = (configured.BASE_DIR / "docs" / "protocol-agentbus.md").read_text(encoding="utf-8")
LOOP = 1000
PATIENCE = 60


async def shell(*command: str, text: str | None = None) -> str:
    """Runs a command and returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        output, errors = await process.communicate(text.encode() if text is not None else None)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_a_client_connects_at_host_and_port_alone(server: LiveServer, owner: Caller) -> None:
    async with connect(f"ws://127.0.0.1:{server.port}", proxy=None) as socket:
        challenge = json.loads(await socket.recv())
        assert challenge["event"] == "connect.challenge"
        connecting = {"client_id": "c1", "client_name": "a client", "auth_token": owner.secret}
        await socket.send(json.dumps({"type": "req", "id": "1", "method": "connect", "params": connecting}))
        assert json.loads(await socket.recv())["ok"]


def passes_on(port: int) -> Callable[[web.Request], Awaitable[web.WebSocketResponse]]:
    """Returns a handler that passes a socket on as `location /ws/ { proxy_pass http://gateway; }` does: the path and
    the messages as they are."""

    async def pass_on(request: web.Request) -> web.WebSocketResponse:
        inner = web.WebSocketResponse()
        await inner.prepare(request)
        headers = {"X-Forwarded-For": str(request.remote)}
        address = f"http://127.0.0.1:{port}{request.path}"
        async with ClientSession() as session, session.ws_connect(address, headers=headers) as outer:
            await asyncio.gather(copy(inner, outer), copy(outer, inner))
        return inner

    async def copy(source: Any, target: Any) -> None:
        async for message in source:
            if message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
        await target.close(code=source.close_code or 1000)

    return pass_on


async def test_a_client_connects_at_ws_behind_a_proxy(server: LiveServer, owner: Caller) -> None:
    proxy = web.Application()
    proxy.router.add_get("/ws/", passes_on(server.port))
    runner = web.AppRunner(proxy)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with bus(runner.addresses[0][1], "/ws/") as client:
            assert (await client.sign_in(auth_token=owner.secret))["ok"]
            sent = await client.call("chat.send", session_id="proxied", message="hello", model="demo:echo")
            while not (event := await client.event("chat.stream"))["done"]:
                pass
            assert (event["run_id"], event["content"]) == (sent["run_id"], "hello")
            await client.call("disconnect")
            assert await client.close_code() == 1000
    finally:
        await runner.cleanup()


async def test_the_system_is_asked_for_its_information(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret) as client:
        info = await client.call("system.info")
        assert (info["name"], info["version"], info["protocol_version"]) == (
            "agent-gateway",
            configured.GATEWAY_VERSION,
            "1.0",
        )
        assert {"chat", "sessions", "devices", "events", "presence"} <= set(info["capabilities"])


@pytest.mark.parametrize("signed", [True, False])
async def test_the_loop_of_a_thousand_requests_is_answered(server: LiveServer, owner: Caller, signed: bool) -> None:
    async with bus(server.port) as client:
        if signed:
            assert (await client.sign_in(auth_token=owner.secret))["ok"]
        for _ in range(LOOP):
            response = await client.request("system.status")
            assert response["ok"] if signed else response["error"]["code"] == 4001
        if signed:
            assert set(response["payload"]) == {
                "status",
                "uptime",
                "connections",
                "memory_usage",
                "sessions",
                "active_runs",
            }
            assert (response["payload"]["status"], response["payload"]["connections"]) == ("ok", 1)


async def test_a_thousand_requests_sent_without_waiting_get_a_response_each(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KEY_CACHE, "clock", lambda: 0.0)
    async with signed_in(server.port, owner.secret) as client:
        names = [await client.send("heartbeat") for _ in range(LOOP)]
        # One whose key is looked up anew is answered after others.
        assert sorted([(await client.response())["id"] for _ in names]) == sorted(names)


async def test_curl_asks_with_a_key(server: LiveServer, owner: Caller) -> None:
    for path, field in (("sessions", "sessions"), ("clients", "clients"), ("stats", "uptime")):
        said = await shell(
            "curl",
            "-sf",
            "-H",
            f"Authorization: Bearer {owner.secret}",
            f"http://127.0.0.1:{server.port}/api/v1/{path}",
        )
        assert field in json.loads(said)


async def test_curl_asks_with_a_user_and_a_password(server: LiveServer, settings: Any, db: None) -> None:
    settings.GATEWAY_AUTH_MODES, settings.GATEWAY_PASSWORD = ["token", "password"], "a password of the gateway"
    await database.run(tenant_create, slug="default")
    await database.run(gateway_user_ensure)
    address = f"http://127.0.0.1:{server.port}/api/v1/sessions"
    assert json.loads(await shell("curl", "-sf", "-u", "gateway:a password of the gateway", address)) == {
        "sessions": []
    }
    encoded = base64.b64encode(b"gateway:a password of the gateway").decode()
    assert json.loads(await shell("curl", "-sf", "-H", f"Authorization: Basic {encoded}", address)) == {"sessions": []}
    status = await shell("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", "gateway:wrong", address)
    assert status == "401"


async def test_curl_creates_a_session_and_sends_to_it(server: LiveServer, owner: Caller) -> None:
    address = f"http://127.0.0.1:{server.port}/api/v1/sessions"
    headers = ("-H", f"Authorization: Bearer {owner.secret}", "-H", "Content-Type: application/json")
    body = json.dumps({"session_id": "by-curl", "model": "demo:echo"})
    assert json.loads(await shell("curl", "-sf", *headers, "-d", body, address))["session_id"] == "by-curl"
    sent = json.loads(await shell("curl", "-sf", *headers, "-d", '{"message":"hello"}', f"{address}/by-curl/messages"))
    assert set(sent) == {"run_id", "message_id"}
    assert json.loads(await shell("curl", "-sf", *headers, "-X", "DELETE", f"{address}/by-curl"))["status"] == "deleted"


@pytest.mark.parametrize("path", ["status", "health"])
async def test_curl_asks_for_the_status_without_a_key(server: LiveServer, path: str) -> None:
    assert json.loads(await shell("curl", "-sf", f"http://127.0.0.1:{server.port}/{path}"))["status"] == "ok"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_every_example_of_the_document_is_tested() -> None:
    assert set(re.findall(r"```(\w+)\n", DOCUMENT)) == {"json", "python"}
    assert (len(examples("json")), len(examples("python"))) == (1, 1)


async def test_the_documents_program_prints_the_answer(server: LiveServer, owner: Caller) -> None:
    (program,) = examples("python")
    said = await shell(sys.executable, "-", f"ws://127.0.0.1:{server.port}/rpc", owner.secret, text=program)
    assert said == "hello"
    with pytest.raises(AssertionError, match="API key"):
        await shell(sys.executable, "-", f"ws://127.0.0.1:{server.port}/rpc", "wrong", text=program)


async def test_the_documents_response_to_connect_is_the_one_that_comes(server: LiveServer, owner: Caller) -> None:
    (shown,) = (json.loads(example) for example in examples("json"))
    async with bus(server.port) as client:
        payload = (await client.sign_in(auth_token=owner.secret))["payload"]
    assert shape(payload) == shape(shown)
    assert payload["capabilities"] == shown["capabilities"]
    assert payload["policy"] == shown["policy"]
    assert payload["server_info"]["name"] == shown["server_info"]["name"]


def shape(value: Any) -> Any:
    """Returns the names and the types of a value."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value).__name__


async def test_a_tenant_of_its_own_needs_no_default_tenant(server: LiveServer, tenant: Tenant, owner: Caller) -> None:
    async with asyncio.timeout(WAIT), signed_in(server.port, owner.secret) as client:
        assert (await client.call("system.status"))["sessions"] == 0
