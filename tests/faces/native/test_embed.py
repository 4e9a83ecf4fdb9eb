"""The chat to embed: what its tokens allow, and attacks on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser

from core_app import clock, database
from tenants_app.models import ApiKey, AuditEntry, EmbedToken, Tenant
from tenants_app.principal import APPROVALS, INFERENCE, SESSIONS, TENANT_SCOPES
from tenants_app.services import api_key_revoke
from tests.conftest import Caller, caller
from tests.gateway_harness import Answer, Client, GatewayHarness, api, gateway
from tests.security.operations import operations

__all__ = ["api", "gateway"]

pytestmark = pytest.mark.django_db(transaction=True)

ASKED: dict[str, Any] = {"endUser": "ann", "model": "demo:echo", "origins": ["https://www.example.com"]}
OWN = {"origin": "http://gateway.test"}


class Chat(Client):
    """The frame of an embedded chat."""

    def __init__(self, token: str, **headers: str) -> None:
        super().__init__(None)
        self._headers = {"x-embed-token": token, **OWN, **headers}

    async def begin(self) -> str:
        made = await self.post("/v1/embed/sessions")
        assert made.status == 201, made.body
        return str(made.json["sessionId"])

    async def say(self, session: str, text: str) -> Answer:
        return await self.post(f"/v1/embed/sessions/{session}/prompt", {"text": text})


async def issued(server: Client, **changes: Any) -> str:
    answer = await server.post("/v1/embed-tokens", {**ASKED, **changes})
    assert answer.status == 201, answer.body
    return str(answer.json["token"])


@pytest.fixture
async def chat(api: Client) -> Chat:
    return Chat(await issued(api))


def paths_of(session: str) -> list[tuple[str, str, Any]]:
    """Every request that an embedded chat can make about a session."""
    place = f"/v1/embed/sessions/{session}"
    return [
        ("GET", place, None),
        ("GET", f"{place}/messages", None),
        ("GET", f"{place}/events?since=0", None),
        ("POST", f"{place}/prompt", {"text": "hello"}),
        ("POST", f"{place}/abort", {}),
        ("POST", f"{place}/respond", {"ref": "r", "response": "yes"}),
        ("POST", f"{place}/decide", {"approvalId": "a", "approve": True, "argsHash": "h"}),
    ]


async def test_an_end_user_talks_and_finds_the_conversation_again(chat: Chat, api: Client) -> None:
    session = await chat.begin()
    assert (await chat.say(session, "hello there")).status == 202
    async with chat.events(session, path=f"/v1/embed/sessions/{session}/events", since=0) as reader:
        end = await reader.next_of("agent_end")
    assert end.data["lastMessage"]["content"] == "hello there"
    again = Chat(await issued(api))
    messages = (await again.get(f"/v1/embed/sessions/{session}/messages")).json["messages"]
    assert [(one["role"], one["content"]) for one in messages] == [
        ("user", "hello there"),
        ("assistant", "hello there"),
    ]
    runs = (await api.get(f"/v1/sessions/{session}/runs")).json["runs"]
    assert len(runs) == 1


async def test_prompts_are_the_end_users_in_the_usage(chat: Chat, api: Client) -> None:
    session = await chat.begin()
    request = (await chat.say(session, "hello")).json["requestId"]
    await api.follow_run(session, request)
    usage = (await api.get("/v1/usage?endUser=ann")).json["usage"]
    assert sum(row["prompts"] for row in usage) == 1


async def test_the_stream_has_no_arguments_and_results_of_tools(api: Client) -> None:
    chat = Chat(await issued(api, model="demo:tour"))
    session = await chat.begin()
    await chat.say(session, "think and use current_time")
    async with chat.events(session, path=f"/v1/embed/sessions/{session}/events", since=0) as reader:
        seen = {(await reader.next()).event}
        while "agent_end" not in seen:
            seen.add((await reader.next()).event)
    assert not {"tool_calls", "tool_execution_start", "tool_execution_end", "thinking_delta"} & seen
    logged = {frame.event for frame in await api.log(session)}
    assert "thinking_delta" in logged


@pytest.mark.parametrize("changes", [{"endUser": "bob"}, {"model": "demo:tour"}])
async def test_another_end_user_or_model_reaches_no_session(chat: Chat, api: Client, changes: dict[str, Any]) -> None:
    session = await chat.begin()
    other = Chat(await issued(api, **changes))
    for method, path, body in paths_of(session):
        answer = await other.ask(method, path, body or {})
        assert answer.error == (404, "session_not_found"), path


async def test_another_tenant_reaches_no_session(chat: Chat, gateway: GatewayHarness, stranger: Caller) -> None:
    session = await chat.begin()
    other = Chat(await issued(gateway.client(stranger)))
    for method, path, body in paths_of(session):
        assert (await other.ask(method, path, body or {})).error == (404, "session_not_found"), path


async def test_a_session_that_was_not_made_for_the_chat_is_unknown_to_it(chat: Chat, api: Client) -> None:
    ordinary = await api.session()
    named = await api.session(sessionId="emb_0123456789abcdef_" + "0" * 40)
    own = await chat.begin()
    changed = own[:-1] + ("0" if own[-1] != "0" else "1")
    for session in (ordinary, named, changed, own.upper(), "emb", "x" * 64):
        for method, path, body in paths_of(session):
            assert (await chat.ask(method, path, body or {})).status == 404, path


async def test_the_token_opens_nothing_else(chat: Chat, api: Client) -> None:
    session = await chat.begin()
    token = chat._headers["x-embed-token"]
    secret = token.partition(".")[2]
    forms = (
        {"x-embed-token": token},
        {"x-api-key": token},
        {"x-api-key": secret},
        {"authorization": f"Bearer {secret}"},
    )
    bare = Client(None)
    elsewhere = [one for one in operations() if one.scope is not None]
    assert len(elsewhere) > 60
    for operation in elsewhere:
        path = (
            operation.path()
            if "session_id" not in operation.template
            else operation.template.replace("{session_id}", session).replace("{request_id}", "r").replace("{name}", "n")
        )
        for headers in forms:
            answer = await bare.ask(operation.method, path, {}, headers={**headers, **OWN})
            assert answer.status == 401, (str(operation), headers)
    for path in ("/admin/", "/console/", "/metrics"):
        assert (await bare.get(path, headers={"x-embed-token": token})).status in (302, 401, 404)


async def test_keys_and_signed_in_people_are_no_chat(api: Client, gateway: GatewayHarness) -> None:
    for client in (api, gateway.client(None)):
        assert (await client.post("/v1/embed/sessions")).error == (401, "unauthorized")
    cookie = {"cookie": "gateway_session=" + "x" * 32, **OWN}
    assert (await gateway.client(None).post("/v1/embed/sessions", headers=cookie)).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://www.example.com"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_only_the_frame_uses_a_token(chat: Chat, headers: dict[str, str]) -> None:
    assert (await chat.post("/v1/embed/sessions", headers=headers)).error == (403, "forbidden")


async def test_an_expired_token_is_over_and_so_is_its_stream(chat: Chat, settings: Any) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    session = await chat.begin()
    async with chat.events(session, path=f"/v1/embed/sessions/{session}/events", since=0) as reader:
        await reader.until(lambda: reader.heartbeats)
        await database.run(lambda: EmbedToken.objects.update(expires_at=clock.now() - timedelta(seconds=1)))
        await reader.end()
    assert (await chat.get(f"/v1/embed/sessions/{session}")).status == 401


async def test_a_token_ends_with_the_key_of_its_server(chat: Chat, settings: Any) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    session = await chat.begin()
    async with chat.events(session, path=f"/v1/embed/sessions/{session}/events", since=0) as reader:
        await database.run(lambda: api_key_revoke(key=ApiKey.objects.get()))
        await reader.end()
    assert (await chat.get(f"/v1/embed/sessions/{session}")).status == 401


async def test_a_page_cannot_renew_its_token(chat: Chat) -> None:
    assert (await chat.post("/v1/embed-tokens", ASKED)).status == 401


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endUser": ""}, "endUser"),
        ({"endUser": "x" * 201}, "endUser"),
        ({"agent": "a"}, "agent"),
        ({"model": None}, "agent"),
        ({"origins": []}, "origins"),
        ({"origins": ["*"]}, "origins"),
        ({"origins": ["https://*.example.com"]}, "origins"),
        ({"origins": ["http://www.example.com"]}, "origins"),
        ({"origins": ["https://www.example.com/path"]}, "origins"),
        ({"origins": ["https://www.example.com; script-src *"]}, "origins"),
        ({"origins": ["https://a.example"] * 11}, "origins"),
        ({"ttlSeconds": 3601}, "ttlSeconds"),
        ({"ttlSeconds": 59}, "ttlSeconds"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_by_field(api: Client, changes: dict[str, Any], field: str) -> None:
    refused = await api.post("/v1/embed-tokens", {**ASKED, **changes})
    assert refused.status in (400, 422), refused.body
    assert refused.field == field


async def test_an_unknown_agent_is_refused_when_the_token_is_asked_for(api: Client) -> None:
    refused = await api.post("/v1/embed-tokens", {**ASKED, "model": None, "agent": "nobody"})
    assert (refused.status, refused.field) == (422, "agent")


async def test_a_token_gives_no_approvals_that_its_key_lacks(gateway: GatewayHarness, tenant: Tenant) -> None:
    tenant.settings = {"approvals_in_sessions": False}
    await database.run(tenant.save)
    narrow = gateway.client(await database.run(caller, tenant, [SESSIONS]))
    assert (await narrow.post("/v1/embed-tokens", {**ASKED, "approvals": True})).error == (403, "forbidden")
    wide = gateway.client(await database.run(caller, tenant, [SESSIONS, APPROVALS]))
    for approvals, status in ((False, 403), (True, 404)):
        chat = Chat(await issued(wide, approvals=approvals))
        session = await chat.begin()
        body = {"approvalId": "a", "approve": True, "argsHash": "h"}
        assert (await chat.post(f"/v1/embed/sessions/{session}/decide", body)).status == status


async def test_tokens_are_for_servers_with_the_scope(gateway: GatewayHarness, tenant: Tenant) -> None:
    others = gateway.client(await database.run(caller, tenant, [one for one in TENANT_SCOPES if one != SESSIONS]))
    assert (await others.post("/v1/embed-tokens", ASKED)).error == (403, "forbidden")
    inference = gateway.client(await database.run(caller, tenant, [INFERENCE]))
    assert (await inference.post("/v1/embed-tokens", ASKED)).status == 403


async def test_each_end_user_has_a_limit_of_their_own(chat: Chat, api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenants_app.authentication.EMBED_RPM", 3)
    session = await chat.begin()
    answers = [(await chat.get(f"/v1/embed/sessions/{session}")).status for _ in range(4)]
    assert 429 in answers
    assert (await Chat(await issued(api, endUser="bob")).post("/v1/embed/sessions")).status == 201
    assert (await api.get("/v1/sessions")).status == 200


async def test_what_is_issued_is_in_the_audit_trail_without_the_secret(chat: Chat, tenant: Tenant) -> None:
    entry = await database.run(lambda: AuditEntry.objects.get(tenant=tenant, action="embed_token.issue"))
    assert entry.detail["endUser"] == "ann"
    assert chat._headers["x-embed-token"].partition(".")[2] not in str(entry.detail)


async def test_the_frame_may_be_shown_by_the_tokens_origins_alone(chat: Chat) -> None:
    token_id = chat._headers["x-embed-token"].partition(".")[0]
    page = await Client(None).get(f"/console/embed/frame/{token_id}")
    policy = page.headers["content-security-policy"]
    assert page.status == 200
    assert policy.endswith("frame-ancestors https://www.example.com")
    assert "unsafe" not in policy
    assert "x-frame-options" not in page.headers
    assert (await Client(None).get("/console/embed/frame/emt_nobodys")).status == 404
    await database.run(lambda: EmbedToken.objects.update(expires_at=clock.now()))
    assert (await Client(None).get(f"/console/embed/frame/{token_id}")).status == 404


def test_the_script_may_be_included_by_any_site(client: Browser) -> None:
    script = client.get("/console/embed.js")
    assert script.status_code == 200
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
