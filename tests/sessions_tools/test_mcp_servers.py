"""MCP servers that tenants register: over REST, with headers and with OAuth, used by their sessions and agents."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client as Browser

from agents_app.directory.services import agent_register
from core_app.database import run
from sessions_app.models import PromptAttachment
from tenants_app.models import AuditEntry, User
from tests.conftest import Caller
from tests.gateway_harness import UNSET, Client, GatewayHarness
from tests.tools.listening import listening
from tests.tools.scripted_mcp import Answer, ScriptedMcp, text, tool
from tools_app.executors.mcp import SERVERS
from tools_app.mcp.models import McpServer

ROOT = Path(__file__).resolve().parents[2]
PATH = "/v1/mcp-servers"


@pytest.fixture
def scripted() -> Iterator[ScriptedMcp]:
    server = ScriptedMcp().start()
    yield server
    SERVERS.close_all()
    server.stop()


@pytest.fixture
def guarded_server() -> Iterator[str]:
    """The address of a process with an MCP server and its authorization server."""
    with listening([sys.executable, "-m", "tests.tools.mcp_oauth_server"], quiet=True) as port:
        yield f"http://127.0.0.1:{port}"
        SERVERS.close_all()


async def registered(api: Client, server: ScriptedMcp, **fields: Any) -> dict[str, Any]:
    answer = await api.post(PATH, {"name": "mine", "url": server.url, **fields})
    assert answer.status == 201, answer.body
    return dict(answer.json)


async def fetch(url: str, *, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Requests a foreign server, as a browser would, without following redirects."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    def request() -> tuple[int, dict[str, str], bytes]:
        opener = urllib.request.build_opener(Stay)
        try:
            with opener.open(urllib.request.Request(url, method=method), timeout=60) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as answer:
            return answer.code, {name.lower(): value for name, value in answer.headers.items()}, answer.read()

    return await asyncio.to_thread(request)


async def events_of(api: Client, session: str, event: str) -> list[dict[str, Any]]:
    return [frame.data for frame in await api.log(session) if frame.event == event]


async def test_a_tenants_session_uses_its_own_server(api: Client, scripted: ScriptedMcp) -> None:
    shown = await registered(api, scripted, auth="header", headers={"Authorization": "Bearer s3cret"})
    assert (shown["name"], shown["auth"], shown["headerNames"]) == ("mine", "header", ["Authorization"])
    assert (shown["state"], shown["source"], shown["authorized"]) == ("unused", "tenant", None)
    assert "s3cret" not in json.dumps(shown)
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    run_ended = await api.run(session, "use mcp__mine__echo")
    assert run_ended["lastMessage"]["content"].endswith("mcp__mine__echo answered: echo")
    assert {headers.get("authorization") for headers in scripted.headers} == {"Bearer s3cret"}
    assert await events_of(api, session, "tool_unavailable") == []
    listed = (await api.get(PATH)).json["servers"]
    assert [(each["name"], each["source"]) for each in listed] == [("mine", "tenant")]


async def test_an_agent_of_the_tenant_has_the_tools_of_its_server(
    api: Client, owner: Caller, scripted: ScriptedMcp
) -> None:
    await registered(api, scripted)
    await run(lambda: agent_register(owner.principal, id="helper", type="model", model="demo:tour", tools=["mcp:mine"]))
    session = await api.session(model=None, agent="helper")
    ended = await api.run(session, "use mcp__mine__echo")
    assert "answered: echo" in ended["lastMessage"]["content"]


async def test_secrets_are_sealed_and_never_shown(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted, auth="header", headers={"X-Key": "s3cret-value"})
    row = await run(McpServer.objects.get)
    assert "s3cret-value" not in json.dumps([str(value) for value in vars(row).values()])
    for path in (PATH, f"{PATH}/mine"):
        assert b"s3cret-value" not in (await api.get(path)).body
    details = await run(lambda: [entry.detail for entry in AuditEntry.objects.filter(action__startswith="mcp_server")])
    assert details
    assert "s3cret-value" not in json.dumps(details)


async def test_a_secret_does_not_follow_a_server_to_another_origin(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted, auth="header", headers={"X-Key": "v"})
    moved = await api.patch(f"{PATH}/mine", {"url": "https://example.com/mcp"})
    assert (moved.status, moved.field) == (400, "headers")
    assert (await api.patch(f"{PATH}/mine", {"url": f"{scripted.url}/other"})).status == 200
    given = await api.patch(f"{PATH}/mine", {"url": "https://example.com/mcp", "headers": {"X-Key": "w"}})
    assert given.status == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "a__b"}, "name"),
        ({"name": "x" * 41}, "name"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:pw@example.com/"}, "url"),
        ({"auth": "magic"}, "auth"),
        ({"auth": "header"}, "headers"),
        ({"headers": {"A": "b"}}, "headers"),
        ({"auth": "header", "headers": {"Host": "b"}}, "headers"),
        ({"auth": "header", "headers": {"Mcp-Session-Id": "b"}}, "headers"),
        ({"auth": "header", "headers": {"A": "b\r\nC: d"}}, "headers"),
        ({"auth": "header", "headers": {"A b": "c"}}, "headers"),
        ({"scope": "tools"}, "scope"),
        ({"auth": "oauth", "clientSecret": "s"}, "clientSecret"),
        ({"timeoutMs": 10}, "timeoutMs"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
async def test_a_bad_registration_names_its_field(api: Client, fields: dict[str, Any], field: str) -> None:
    answer = await api.post(PATH, {"name": "mine", "url": "https://example.com/mcp", **fields})
    assert (answer.status, answer.field) == (400, field)


async def test_private_addresses_are_refused_at_the_registration_and_at_the_call(
    api: Client, scripted: ScriptedMcp, settings: Any
) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
    refused = await api.post(PATH, {"name": "mine", "url": scripted.url.replace("http:", "https:")})
    assert (refused.status, refused.field) == (400, "url")
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    await registered(api, scripted)
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
    tested = (await api.post(f"{PATH}/mine/test", {})).json
    assert tested["state"] == "unavailable"
    assert scripted.requests == []


async def test_another_tenants_server_is_like_none(
    api: Client, gateway: GatewayHarness, stranger: Any, scripted: ScriptedMcp
) -> None:
    await registered(api, scripted)
    other = gateway.client(stranger)
    for method, path in (
        ("GET", f"{PATH}/mine"),
        ("PATCH", f"{PATH}/mine"),
        ("DELETE", f"{PATH}/mine"),
        ("POST", f"{PATH}/mine/test"),
        ("POST", f"{PATH}/mine/connect"),
        ("POST", f"{PATH}/mine/disconnect"),
    ):
        answer = await other.ask(method, path, {} if method in ("POST", "PATCH") else UNSET)
        assert answer.status == 404, path
    assert (await other.get(PATH)).json == {"servers": []}
    refused = await other.post("/v1/sessions", {"model": "demo:tour", "tools": ["mcp:mine"]})
    assert (refused.status, refused.field) == (400, "tools")


async def test_a_test_shows_tools_and_what_is_wrong(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted)
    bad = tool("bad", {"type": "object", "properties": {"p": {"$ref": "https://e.test/s"}}})
    scripted.tools = [tool("a.b"), bad]
    found = (await api.post(f"{PATH}/mine/test", {})).json
    assert (found["state"], found["protocolVersion"]) == ("ok", "2025-11-25")
    assert [each["name"] for each in found["tools"]] == ["a.b"]
    assert [each["tool"] for each in found["leftOut"]] == ["bad"]
    assert (await api.get(f"{PATH}/mine")).json["state"] == "ok"
    scripted.hook = lambda method, message, headers: Answer(403)
    found = (await api.post(f"{PATH}/mine/test", {})).json
    assert (found["state"], found["reason"]) == ("unauthorized", "It answered 403 Forbidden.")


async def test_what_is_not_offered_is_an_event_once_a_run(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted)
    scripted.tools = [tool("bad", {"type": "array"}), tool("good")]
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    await api.run(session, "use mcp__mine__good")
    [told] = await events_of(api, session, "tool_unavailable")
    assert (told["server"], told["toolName"]) == ("mine", "bad")
    assert (await api.delete(f"{PATH}/mine")).status == 204
    ended = await api.run(session, "hello")
    assert ended["status"] == "completed"
    told = (await events_of(api, session, "tool_unavailable"))[-1]
    assert (told["server"], told["toolName"]) == ("mine", None)


async def test_a_server_that_is_away_costs_its_tools_and_not_the_session(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted)
    scripted.hook = lambda method, message, headers: Answer(500)
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    assert (await api.run(session, "hello"))["status"] == "completed"
    [told] = await events_of(api, session, "tool_unavailable")
    assert (told["toolName"], told["reason"]) == (None, "It answered 500 Internal Server Error.")


async def test_an_image_of_a_result_is_stored_with_it(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted)
    data = base64.b64encode(b"\x89PNG").decode()
    scripted.results["echo"] = {"content": [{"type": "image", "data": data, "mimeType": "image/png"}]}
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    ended = await api.run(session, "use mcp__mine__echo")
    assert ended["status"] == "completed"
    part = await run(lambda: PromptAttachment.objects.select_related("content", "message").get())
    assert part.content is not None
    assert part.message is not None
    assert (part.kind, bytes(part.content.data), part.message.role) == ("image", b"\x89PNG", "tool_result")
    assert (await api.run(session, "hello"))["status"] == "completed"


async def test_a_changed_server_is_used_at_the_next_call(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted, auth="header", headers={"X-Key": "one"})
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    await api.run(session, "use mcp__mine__echo")
    await api.patch(f"{PATH}/mine", {"headers": {"X-Key": "two"}, "requiresApproval": True})
    await api.prompt(session, "use mcp__mine__echo")
    async with api.events(session) as reader:
        await reader.next_of("approval_required")
    assert scripted.headers[-1]["x-key"] == "two"
    await api.patch(f"{PATH}/mine", {"enabled": False})
    refused = await api.post("/v1/sessions", {"model": "demo:tour", "tools": ["mcp:mine"]})
    assert (refused.status, refused.field) == (400, "tools")


async def authorized(api: Client, gateway: GatewayHarness) -> Any:
    """Walks through the authorization as a person with a browser."""
    begun = await api.post(f"{PATH}/mine/connect", {})
    assert begun.status == 200, begun.body
    status, headers, _ = await fetch(begun.json["authorizationUrl"])
    assert status == 302
    back = urlsplit(headers["location"])
    assert back.path == "/v1/mcp-oauth/callback"
    return back, await gateway.client(None).get(f"{back.path}?{back.query}")


@pytest.mark.parametrize("client", [{}, {"clientId": "own", "clientSecret": "own-secret"}], ids=["registered", "own"])
async def test_a_server_with_oauth_is_authorized_used_and_refreshed(
    api: Client, gateway: GatewayHarness, guarded_server: str, client: dict[str, str]
) -> None:
    url = f"{guarded_server}/mcp"
    made = await api.post(PATH, {"name": "mine", "url": url, "auth": "oauth", **client})
    assert (made.status, made.json["authorized"]) == (201, False)
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    await api.run(session, "hello")
    [told] = await events_of(api, session, "tool_unavailable")
    assert "connect it" in told["reason"]
    assert (await api.post(f"{PATH}/mine/test", {})).json["state"] == "unauthorized"

    back, page = await authorized(api, gateway)
    assert (page.status, b"is connected" in page.body) == (200, True)
    assert (await api.get(f"{PATH}/mine")).json["authorized"] is True
    ended = await api.run(session, "use mcp__mine__secret")
    assert ended["lastMessage"]["content"].endswith("answered: the answer")

    # The state is good once.
    again = await gateway.client(None).get(f"{back.path}?{back.query}")
    assert (again.status, b"is connected" in again.body) == (404, False)

    await fetch(f"{guarded_server}/expire", method="POST")
    ended = await api.run(session, "use mcp__mine__secret")
    assert ended["lastMessage"]["content"].endswith("answered: the answer")

    asked = json.loads((await fetch(f"{guarded_server}/asked"))[2])
    kinds = [next(iter(each)) for each in asked]
    assert kinds == ([] if client else ["registered"]) + ["authorized", "exchanged", "refreshed"]
    assert asked[-3]["resource"] == url
    assert asked[-3]["scopes"] == ["tools"]

    await fetch(f"{guarded_server}/revoke", method="POST")
    ended = await api.run(session, "use mcp__mine__secret")
    assert "the answer" not in ended["lastMessage"]["content"]
    assert (await api.get(f"{PATH}/mine")).json["authorized"] is False
    _, page = await authorized(api, gateway)
    assert page.status == 200
    assert "the answer" in (await api.run(session, "use mcp__mine__secret"))["lastMessage"]["content"]


async def test_a_token_is_refreshed_once_for_calls_at_once(
    api: Client, gateway: GatewayHarness, guarded_server: str
) -> None:
    """A refresh token that is used twice ends the grant."""
    await api.post(PATH, {"name": "mine", "url": f"{guarded_server}/mcp", "auth": "oauth"})
    await authorized(api, gateway)
    sessions = [await api.session(model="demo:tour", tools=["mcp:mine"]) for _ in range(4)]
    await asyncio.gather(*(api.run(session, "use mcp__mine__secret") for session in sessions))
    await fetch(f"{guarded_server}/expire", method="POST")
    ended = await asyncio.gather(*(api.run(session, "use mcp__mine__secret") for session in sessions))
    assert all("the answer" in each["lastMessage"]["content"] for each in ended)
    asked = json.loads((await fetch(f"{guarded_server}/asked"))[2])
    assert sum("refreshed" in each for each in asked) == 1


async def test_a_grant_is_sealed_and_can_be_forgotten(
    api: Client, gateway: GatewayHarness, guarded_server: str
) -> None:
    await api.post(PATH, {"name": "mine", "url": f"{guarded_server}/mcp", "auth": "oauth"})
    await authorized(api, gateway)
    row = await run(McpServer.objects.get)
    assert row.sealed_grant is not None
    assert "access_token" not in row.sealed_grant
    assert (await api.post(f"{PATH}/mine/disconnect", {})).json["authorized"] is False
    assert (await run(McpServer.objects.get)).sealed_grant is None


async def test_an_authorization_can_be_refused_and_is_bound_to_its_state(
    api: Client, gateway: GatewayHarness, guarded_server: str
) -> None:
    await api.post(PATH, {"name": "mine", "url": f"{guarded_server}/mcp", "auth": "oauth"})
    begun = (await api.post(f"{PATH}/mine/connect", {})).json
    query = parse_qs(urlsplit(begun["authorizationUrl"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["resource"] == [f"{guarded_server}/mcp"]
    browser = gateway.client(None)
    for bad in ("", "state=", "state=nobodys&code=x", f"state={query['state'][0]}", f"code={'x' * 5000}&state=x"):
        assert (await browser.get(f"/v1/mcp-oauth/callback?{bad}")).status in (400, 404)
    refused = await browser.get(f"/v1/mcp-oauth/callback?state={query['state'][0]}&error=access_denied<script>")
    assert (refused.status, b"was not authorized" in refused.body, b"<script>" in refused.body) == (200, True, False)
    assert (await api.get(f"{PATH}/mine")).json["authorized"] is False


async def test_an_authorization_begins_in_the_admin_too(
    api: Client, gateway: GatewayHarness, guarded_server: str, scripted: ScriptedMcp
) -> None:
    await api.post(PATH, {"name": "mine", "url": f"{guarded_server}/mcp", "auth": "oauth"})
    await api.post(PATH, {"name": "plain", "url": scripted.url})

    def act(name: str) -> str:
        boss = Browser()
        boss.force_login(User.objects.filter(username="boss").first() or User.objects.create_superuser("boss"))
        form = {"action": "connect", "_selected_action": [McpServer.objects.get(name=name).pk]}
        return boss.post("/admin/tools_app/mcpserver/", form, follow=True).content.decode()

    assert "Only a server with auth oauth can be authorized." in await run(act, "plain")
    [address] = re.findall(r'href="(http[^"]+)" target="_blank"', await run(act, "mine"))
    status, headers, _ = await fetch(unescape(address))
    back = urlsplit(headers["location"])
    page = await gateway.client(None).get(f"{back.path}?{back.query}")
    assert (status, page.status, b"is connected" in page.body) == (302, 200, True)
    assert (await api.get(f"{PATH}/mine")).json["authorized"] is True


async def test_a_server_that_asks_for_no_authorization_cannot_be_connected(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted, auth="oauth")
    assert (await api.post(f"{PATH}/mine/connect", {})).error == (409, "conflict")
    await api.patch(f"{PATH}/mine", {"auth": "none"})
    assert (await api.post(f"{PATH}/mine/connect", {})).error == (409, "conflict")


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"resource": 5}', b"x" * 300_000], ids=range(4))
async def test_bad_metadata_is_a_sentence(api: Client, scripted: ScriptedMcp, metadata: bytes) -> None:
    await registered(api, scripted, auth="oauth")
    scripted.hook = lambda method, message, headers: (
        Answer(401) if method == "POST" else Answer(200, metadata, {"content-type": "application/json"})
    )
    answer = await api.post(f"{PATH}/mine/connect", {})
    assert answer.status == 422
    assert answer.json["message"].startswith("The authorization failed: ")


async def test_metadata_that_names_another_resource_is_refused(api: Client, scripted: ScriptedMcp) -> None:
    """Otherwise the token of one server would be had by another."""
    await registered(api, scripted, auth="oauth")
    resource = {"resource": "https://bank.example/mcp", "authorization_servers": ["https://auth.example"]}
    body = json.dumps(resource).encode()
    scripted.hook = lambda method, message, headers: (
        Answer(401) if method == "POST" else Answer(200, body, {"content-type": "application/json"})
    )
    assert (await api.post(f"{PATH}/mine/connect", {})).status == 422


async def test_the_client_document_names_the_gateway(gateway: GatewayHarness, settings: Any) -> None:
    settings.GATEWAY_PUBLIC_URL = "https://gateway.example"
    document = (await gateway.client(None).get("/v1/mcp-oauth/client.json")).json
    assert document["client_id"] == "https://gateway.example/v1/mcp-oauth/client.json"
    assert document["redirect_uris"] == ["https://gateway.example/v1/mcp-oauth/callback"]


async def test_a_tenant_has_a_bounded_number_of_servers(
    api: Client, scripted: ScriptedMcp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools_app.mcp.services.MAX_SERVERS", 1)
    await registered(api, scripted)
    assert (await api.post(PATH, {"name": "two", "url": scripted.url})).error == (409, "conflict")
    assert (await api.post(PATH, {"name": "mine", "url": scripted.url})).error == (409, "conflict")


async def test_text_of_a_server_reaches_the_model(api: Client, scripted: ScriptedMcp) -> None:
    await registered(api, scripted)
    scripted.results["echo"] = text("said by a server\x00")
    session = await api.session(model="demo:tour", tools=["mcp:mine"])
    ended = await api.run(session, "use mcp__mine__echo")
    assert "said by a server\ufffd" in ended["lastMessage"]["content"]
