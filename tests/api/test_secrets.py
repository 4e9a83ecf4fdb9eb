"""No credential is ever logged: a long scenario at DEBUG, then a search for every secret that it used.

The gateway is a process of its own and its log is read as an operator reads it. Secrets arrive in every possible way:
headers, queries, bodies, paths, settings, the environment.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from tests.api.served import Served, gateway_served

PROVIDER_KEY = "provider-key-0123456789abcdef"
TOOL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PASSWORD = "correct horse battery"
WRONG_KEYS = ["wrong-key-in-a-header", "wrong-key-as-bearer", "wrong-key-in-a-query", "wrong-stream-token"]
PROVIDERS = """
models:
  providers:
    mine: {base_url: "http://127.0.0.1:%d/v1", api_key_env: MINE_API_KEY, models: [one]}
"""


@pytest.fixture
def provider_socket() -> Iterator[socket.socket]:
    """A socket that is bound at once, so that nothing else takes its port before the provider listens on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture
def server(tmp_path: Path, provider_socket: socket.socket) -> Iterator[Served]:
    config = tmp_path / "gateway.yaml"
    config.write_text(PROVIDERS % provider_socket.getsockname()[1], encoding="utf-8")
    directory = tmp_path / "data"
    directory.mkdir()
    with gateway_served(
        directory, LOG_LEVEL="DEBUG", LOG_FORMAT="json", CONFIG=str(config), extra={"MINE_API_KEY": PROVIDER_KEY}
    ) as server:
        yield server


async def test_no_secret_is_logged(server: Served, provider_socket: socket.socket) -> None:
    secrets = [*server.keys.values(), PROVIDER_KEY, TOOL_SECRET, TOOL_SECRET[6:], PASSWORD, *WRONG_KEYS]
    provider = await provider_started(provider_socket)
    async with aiohttp.ClientSession(server.url, headers={"X-API-Key": server.keys["owner"]}) as http:
        secrets += await conversations(http)
        secrets += await late_results(http)
        secrets += await sockets(http, server)
    await provider.cleanup()
    secrets += await asyncio.to_thread(refusals_and_logins, server)
    await stop_server(server)
    seen = server.process.output()
    lines = server.process.log()
    assert {line["level"] for line in lines} > {"debug", "info"}
    assert [line for line in lines if "without completing handshake" in line["event"]] == []
    assert "/v1/callbacks/[redacted]" in seen
    assert [secret for secret in secrets if secret in seen] == []


async def conversations(http: aiohttp.ClientSession) -> list[str]:
    """Runs a prompt at a provider that refuses the key, and creates a session for the tools."""
    await post(http, "/v1/sessions", {"sessionId": "mine", "model": "mine:one"}, 201)
    ended = await post(http, "/v1/sessions/mine/prompt?wait=60", {"text": "hello"}, 200)
    assert ended["status"] == "failed"
    await post(http, "/v1/sessions", {"sessionId": "tour", "model": "demo:tour"}, 201)
    return []


async def late_results(http: aiohttp.ClientSession) -> list[str]:
    """Calls a tool whose callback delivers late results, to an address that ends in a credential."""
    addresses: asyncio.Queue[str] = asyncio.Queue()

    async def answer(request: web.Request) -> web.Response:
        await addresses.put((await request.json())["resultUrl"])
        return web.Response(status=202)

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await post(http, "/v1/sessions/tour/tools", {"name": "later", "callbackUrl": url, "secret": TOOL_SECRET}, 201)
    await post(http, "/v1/sessions/tour/prompt", {"text": "use later"}, 202)
    async with asyncio.timeout(60):
        token = (await addresses.get()).rpartition("/")[2]
    await post(http, f"/v1/callbacks/{token}", {"result": "done"}, 200)
    await post(http, f"/v1/callbacks/{token}", {"result": "other"}, 409)
    await post(http, f"/v1/callbacks/{token[:-3]}...", {"result": "done"}, 404)
    await runner.cleanup()
    return [token, token[:-3]]


async def sockets(http: aiohttp.ClientSession, server: Served) -> list[str]:
    """Connects with keys and tokens in queries, valid and wrong ones."""
    token = (await post(http, "/v1/sessions/tour/stream-token", {}, 200))["token"]
    async with aiohttp.ClientSession(server.url) as anonymous:
        path = "/v1/sessions/tour/ws"
        for query in (f"api_key={server.keys['owner']}", f"token={token}"):
            async with anonymous.ws_connect(f"{path}?{query}") as follower:
                await follower.send_json({"action": "ping"})
                # The session's run is still ending, and its events may come first.
                async with asyncio.timeout(60):
                    while "ok" not in (answer := await follower.receive_json()):
                        pass
                assert answer["ok"] is True
        for query in (f"api_key={WRONG_KEYS[2]}", f"token={WRONG_KEYS[3]}"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await anonymous.ws_connect(f"{path}?{query}")
            assert refused.value.status == 401
        async with anonymous.get(f"/v1/sessions/tour/events?token={token}&since=0") as stream:
            assert stream.status == 200
            await stream.content.readline()
    return [token]


def refusals_and_logins(server: Served) -> list[str]:
    """Sends wrong keys, keys where they do not belong, and a login to the admin with a wrong password."""
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v1/sessions", headers={"X-API-Key": WRONG_KEYS[0]}).status_code == 401
        assert client.get("/v1/sessions", headers={"Authorization": f"Bearer {WRONG_KEYS[1]}"}).status_code == 401
        assert client.get(f"/v1/sessions?api_key={server.keys['owner']}").status_code == 401
        page = client.get("/admin/login/")
        form = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["gateway_csrf"]}
        assert client.post("/admin/login/", data=form).status_code == page.status_code == 200
        broken = client.post(
            "/v1/sessions",
            content=b'{"secret": "' + TOOL_SECRET.encode(),
            headers={"X-API-Key": server.keys["owner"], "Content-Type": "application/json"},
        )
        assert broken.status_code == 400
        return [client.cookies["gateway_csrf"]]


async def provider_started(bound: socket.socket) -> web.AppRunner:
    """Starts a provider that refuses the key and repeats it in its response."""

    async def answer(request: web.Request) -> web.Response:
        shown = request.headers["Authorization"]
        return web.json_response({"error": {"message": f"bad key {shown}", "type": "auth"}}, status=401)

    application = web.Application()
    application.router.add_post("/v1/{rest:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.SockSite(runner, bound).start()
    return runner


async def stop_server(server: Served) -> None:
    """Stops the process, so that its log is complete: the line of a request follows its response."""
    server.process.signal(signal.SIGTERM)
    assert await server.process.wait_exit() == 0


async def post(http: aiohttp.ClientSession, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
    async with http.post(path, json=body) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return dict(json.loads(text))


async def test_lines_name_the_request_the_session_and_the_run(server: Served) -> None:
    """Lines that are logged during a request or a leg have its ids."""
    async with aiohttp.ClientSession(server.url, headers={"X-API-Key": server.keys["owner"]}) as http:
        await post(http, "/v1/sessions", {"sessionId": "named", "model": "mine:one", "outagePolicy": "fail"}, 201)
        async with http.post(
            "/v1/sessions/named/prompt?wait=60", json={"text": "hi"}, headers={"X-Request-Id": "my-request"}
        ) as answer:
            run = (await answer.json())["requestId"]
    await stop_server(server)
    lines = server.process.log()
    access = next(line for line in lines if line["event"] == "request" and line.get("request_id") == "my-request")
    assert access["path"] == "/v1/sessions/named/prompt"
    of_leg = [line for line in lines if line.get("run") == run]
    assert of_leg, "nothing was logged inside the leg"
    assert {(line["session"], line.get("request_id")) for line in of_leg} == {("named", None)}
