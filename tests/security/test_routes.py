"""No key, a wrong key, a key of another scope and a key of another tenant, at every route of every face."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio

from agents_app.models import Agent
from core_app import database
from events_app.webhooks.models import WebhookDelivery, WebhookEndpoint
from faces.mesh.models import Space, Task
from responses_app.models import Conversation, ConversationItem, StoredResponse
from sessions_app.models import AgentSession, Run
from tenants_app.models import ApiKey, AuditEntry
from tenants_app.principal import INCLUDED_IN, PLATFORM, SCOPES
from tenants_app.services import tenant_update
from tests.conftest import Caller, caller
from tests.gateway_harness import Answer, Client, GatewayHarness
from tests.security.operations import METHODS, UNKNOWN, Operation, closed, operations
from tests.shared_gateway import HERE, api, gateway, owner, stranger, tenant, transactional_db
from tools_app.models import McpServer

__all__ = ["api", "gateway", "owner", "stranger", "tenant", "transactional_db"]

pytestmark = HERE

CLOSED = closed()
OPEN = {operation.template for operation in operations() if operation.scope is None}
EMBEDDED = {
    "/v1/embed/sessions",
    *(
        f"/v1/embed/sessions/{{session_id}}{action}"
        for action in ("", "/abort", "/decide", "/events", "/messages", "/prompt", "/respond")
    ),
}
"""The paths of embedded chats, which take a token of their own."""
_OWNERS = {
    "session_id", "group_id", "webhook_id", "task_id", "space_id", "agent_id", "server", "response_id",
    "conversation_id", "background_id", "completion_id", "message_id", "key_id",
}  # fmt: skip
_RESPONSES = ("response_id", "background_id", "completion_id", "message_id")
OWNED = [one for one in CLOSED if _OWNERS & set(one.parameters) and one.scope != PLATFORM]
VOLATILE = {"x-request-id", "request-id", "date", "ratelimit", "ratelimit-policy", "content-length"}

WITHOUT_A_KEY: list[dict[str, str]] = [
    {},
    {"X-API-Key": ""},
    {"X-API-Key": "agw_unknown"},
    {"X-API-Key": "null"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer agw_unknown"},
    {"Authorization": "Basic YWRtaW46YWRtaW4="},
    {"Authorization": "Digest username=admin"},
    {"Cookie": "gateway_session=0123456789abcdef0123456789abcdef; api_key=agw_unknown"},
    {"X-Original-URL": "/healthz"},
    {"X-Rewrite-URL": "/healthz"},
    {"X-HTTP-Method-Override": "OPTIONS"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Forwarded-User": "admin", "X-Remote-User": "admin", "Remote-User": "admin"},
    {"X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"Origin": "null", "Access-Control-Request-Method": "GET"},
    {"gateway.principal": "admin"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
]

SPELLINGS = [
    "//v1/sessions", "/v1//sessions", "/v1/sessions/", "/V1/sessions", "/v1/Sessions", "/v1/./sessions",
    "/v1/x/../sessions", "/v1/sessions;a=b", "/v1/sessions/.", "/v1/sessions%2f", "/v1%2fsessions", "/./v1/sessions",
    "/healthz/../v1/sessions", "/static/../v1/sessions", "/docs/../v1/sessions", "/admin/../v1/sessions",
    "/openapi.json/../v1/sessions", "/console/../v1/sessions", "/v1/callbacks/../sessions",
    "/v1/callbacks/..%2fsessions",
    "/healthz/v1/sessions", "/readyz/metrics", "/metrics/", "//metrics", "/healthz/../metrics", "/metrics;a",
    "/model-gateway/../metrics", "/v1/models/../sessions", "/v1/models/..%2f..%2fmetrics", "\\v1\\sessions",
    "/v1/sessions\t", "/v1/sessions ", "/v1/sessions\x85", "/v1/sessions\u2028", "/ｖ1/sessions", "/v1/sessions%20",
    "/static/..%2f..%2fmanage.py", "/console/sign-in/../../v1/sessions", "/console/..%2fv1%2fsessions",
    "/v1/embed/../sessions", "/v1/embed/..%2fsessions", "/v1/embed/sessions/../../sessions", "/v1/embed//sessions",
]  # fmt: skip


async def test_the_document_has_the_routes_of_every_face() -> None:
    templates = {operation.template for operation in operations()}
    assert {"/v1/sessions", "/v1/webhooks/{webhook_id}", "/v1/responses", "/metrics"} <= templates
    assert len(CLOSED) > 40
    # Probes, callbacks with a token of their own, and a face's page and socket, which have a sign-in of their own.
    assert {"/healthz", "/readyz", "/v1/callbacks/{token}"} <= OPEN
    # The health shows a tenant's agents to the holder of its key, and nothing to others.
    open_pages = {"/v1/callbacks/{token}", "/v1/health", "/v1/ws-info"}
    # Browsers and authorization servers have no key: the state is a credential, and the document no secret.
    open_pages |= {"/v1/mcp-oauth/callback", "/v1/mcp-oauth/client.json"}
    # A visitor of an embedded chat has no key but its token.
    assert {path for path in OPEN if path.startswith("/v1/embed/")} == EMBEDDED
    open_pages |= EMBEDDED
    assert {path for path in OPEN if path.startswith(("/v1/", "/api/", "/model-gateway"))} == open_pages


@pytest.mark.parametrize("template", sorted({operation.template for operation in CLOSED}))
async def test_no_method_of_a_route_answers_without_a_key(gateway: GatewayHarness, template: str) -> None:
    path = Operation("GET", template, None).path()
    for method in METHODS:
        for headers in ({}, {"X-API-Key": "agw_unknown"}):
            answer = await gateway.client(None).ask(method, path, headers=headers)
            # An address's wrong keys are limited, too.
            assert answer.status in (401, 429), (method, headers)


@pytest.mark.parametrize("template", sorted(EMBEDDED))
async def test_no_path_of_an_embedded_chat_answers_without_its_token(gateway: GatewayHarness, template: str) -> None:
    path = Operation("GET", template, None).path()
    for method in METHODS:
        for headers in ({}, {"X-API-Key": "agw_unknown"}, {"X-Embed-Token": "emt_unknown.age_unknown"}):
            answer = await gateway.client(None).ask(method, path, headers=headers)
            assert answer.status in (401, 429), (method, headers)


@pytest.mark.parametrize("operation", [one for one in operations() if one.template in EMBEDDED], ids=str)
async def test_an_embedded_chat_takes_no_key(gateway: GatewayHarness, owner: Caller, operation: Operation) -> None:
    answer = await gateway.client(owner).ask(operation.method, operation.path(), {})
    assert answer.error == (401, "unauthorized")


async def test_no_header_stands_for_a_key(gateway: GatewayHarness) -> None:
    for headers in WITHOUT_A_KEY:
        for path in ("/v1/sessions", "/metrics", "/v1/models", "/v1/webhooks"):
            answer = await gateway.client(None).get(path, headers=headers)
            assert answer.status in (401, 429), (headers, path)


async def test_no_spelling_of_a_path_goes_past_the_key(gateway: GatewayHarness) -> None:
    for path in SPELLINGS:
        answer = await gateway.client(None).get(path)
        to_sign_in = answer.headers.get("location", "").startswith(("/admin/login/", "/console/sign-in?"))
        assert answer.status in (400, 401, 404, 405, 429) or to_sign_in, path


async def test_a_key_in_the_query_or_a_cookie_is_none(gateway: GatewayHarness, owner: Caller) -> None:
    for query in ("api_key", "apikey", "key", "token", "access_token", "X-API-Key"):
        answer = await gateway.client(None).get(f"/v1/sessions?{query}={owner.secret}")
        assert answer.status in (401, 429), query
    for cookie in ("api_key", "X-API-Key", "Authorization", "gateway_session"):
        headers = {"Cookie": f"{cookie}={owner.secret}"}
        assert (await gateway.client(None).get("/v1/sessions", headers=headers)).status in (401, 429), cookie


@pytest.mark.parametrize("scope", sorted({operation.scope or "" for operation in CLOSED}))
async def test_a_key_of_every_other_scope_is_forbidden(gateway: GatewayHarness, tenant: Any, scope: str) -> None:
    """With `approvals` only where `sessions` does not include it, as the tenant may say."""
    await database.run(lambda: tenant_update(tenant=tenant, settings={"approvals_in_sessions": False}))
    others = [one for one in SCOPES if one != scope and one not in INCLUDED_IN.get(scope, ())]
    client = gateway.client(await database.run(caller, tenant, others, rpm=0))
    for operation in CLOSED:
        if operation.scope != scope:
            continue
        for method in METHODS:
            answer = await client.ask(method, operation.path(), {})
            expected = (403,) if method == operation.method else (403, 404, 405)
            if method != operation.method and (method, operation.template) in _documented():
                continue
            if method in ("HEAD", "OPTIONS") and len(_scopes(operation.template)) > 1:
                continue  # Another method's scope opens the path to them.
            assert answer.status in expected, (method, str(operation))


def _scopes(template: str) -> set[str | None]:
    return {operation.scope for operation in operations() if operation.template == template}


def _documented() -> set[tuple[str, str]]:
    return {(operation.method, operation.template) for operation in operations()}


def _stored_response(session: str) -> StoredResponse:
    """Returns a finished response of the session's tenant, which also gets a conversation with an item."""
    tenant_id = AgentSession.objects.get(public_id=session).tenant_id
    talk = Conversation.objects.create(tenant_id=tenant_id, public_id="conv_kin", last_number=1)
    ConversationItem.objects.create(conversation=talk, number=1, public_id="msg_kin", data='{"id":"msg_kin"}')
    for public_id, kind in (("bg_kin", "chat"), ("bg_kin_chat", "chat"), ("bg_kin_messages", "messages")):
        StoredResponse.objects.create(
            tenant_id=tenant_id, public_id=public_id, kind=kind, status="completed", model="m", input="[]",
            output='{"id":"kin"}', body='{}', background=True,
        )  # fmt: skip
    return StoredResponse.objects.create(
        tenant_id=tenant_id, public_id="resp_kin", status="completed", model="m", input="[]", body='{"id":"resp_kin"}'
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(api: Client) -> dict[str, str]:
    """Objects of one tenant: their ids by the names of the parameters."""
    session = await api.session(groupId="family", tools=["current_time"])
    run = await api.run(session, "hello")
    await api.post(f"/v1/sessions/{session}/tools", {"name": "lookup"})
    given = {"url": "https://example.com/hook", "events": ["agent_end"]}
    webhook = (await api.post("/v1/webhooks", given)).json["id"]
    delivery = (await api.post(f"/v1/webhooks/{webhook}/test")).json["id"]
    await api.post("/v1/mcp-servers", {"name": "family-server", "url": "https://example.com/mcp"})
    agent = (await api.post("/agents", {"id": "kin", "type": "model", "model": "demo:echo"})).json["id"]
    space = (await api.post("/spaces", {})).json["space_id"]
    await api.ask("PUT", f"/spaces/{space}/artifacts/lookup", body=b"secret")
    task = (await api.post("/tasks", {"target": agent, "payload": {"task": "hello"}})).json["task_id"]
    while (await api.get(f"/tasks/{task}")).json["status"] != "completed":
        pass
    key = (await api.post("/v1/keys", {"name": "kin", "scopes": ["sessions"]})).json["id"]
    response = (await database.run(_stored_response, session)).public_id
    return {
        **UNKNOWN, "response_id": response, "conversation_id": "conv_kin", "item_id": "msg_kin",
        "background_id": "bg_kin", "completion_id": "bg_kin_chat", "message_id": "bg_kin_messages",
        "task_id": task, "space_id": space, "agent_id": agent,
        "session_id": session, "request_id": run["requestId"], "group_id": "family", "name": "lookup",
        "webhook_id": webhook, "delivery_id": delivery, "server": "family-server",
        "key_id": str(key),
    }  # fmt: skip


BODIES: dict[str, dict[str, Any]] = {
    "prompt": {"text": "hello"}, "steer": {"text": "hello"}, "switch_model": {"model": "demo:tour"},
    "approve": {"approvalId": "apr_1"}, "reject": {"approvalId": "apr_1"}, "respond": {"ref": "r", "response": "yes"},
    "messages": {"content": "hello"}, "{agent_id}": {"name": "x"},
    "tool-results": {"callId": "call_1", "result": 1}, "tools": {"name": "mine"}, "fork": {"messageId": "msg_1"},
}  # fmt: skip


@pytest.mark.parametrize("operation", OWNED, ids=str)
async def test_another_tenants_ids_are_answered_like_unknown_ones(
    gateway: GatewayHarness, stranger: Caller, place: Mapping[str, str], operation: Operation
) -> None:
    client = gateway.client(stranger)
    body = BODIES.get(operation.template.rpartition("/")[2], {})
    before = await database.run(_stored, place)
    theirs = await client.ask(operation.method, operation.path(place), body)
    unknown = await client.ask(operation.method, operation.path(), body)
    assert 400 <= theirs.status < 500
    assert _comparable(theirs, place) == _comparable(unknown, UNKNOWN)
    assert await database.run(_stored, place) == before


@pytest.mark.parametrize("operation", [one for one in OWNED if len(one.parameters) > 1], ids=str)
async def test_a_foreign_id_inside_what_is_ones_own_is_unknown(
    gateway: GatewayHarness, stranger: Caller, place: Mapping[str, str], operation: Operation
) -> None:
    client = gateway.client(stranger)
    own = await client.session()
    webhook = (await client.post("/v1/webhooks", {"url": "https://example.com/", "events": ["agent_end"]})).json["id"]
    mine = {"session_id": own, "webhook_id": webhook}
    theirs = await client.ask(operation.method, operation.path({**place, **mine}), {})
    unknown = await client.ask(operation.method, operation.path({**UNKNOWN, **mine}), {})
    await client.delete(f"/v1/webhooks/{webhook}")
    assert theirs.status == 404
    assert _comparable(theirs, place) == _comparable(unknown, UNKNOWN)


def _comparable(answer: Answer, ids: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
    """The answer without what every answer has of its own, and without the ids that were asked for."""
    headers = {name: value for name, value in answer.headers.items() if name not in VOLATILE}
    body = answer.body.decode()
    for name, value in ids.items():
        body = re.sub(rf"\b{re.escape(value)}\b", f"<{name}>", body)
    return answer.status, headers, body


def _stored(place: Mapping[str, str]) -> Any:
    """All that a request could have changed of the other tenant."""
    sessions = AgentSession.objects.filter(public_id=place["session_id"])
    return [
        list(sessions.values()),
        list(Run.objects.filter(session__in=sessions).values("pk", "state", "end_reason")),
        list(sessions.values("stream__head", "stream__epoch")),
        list(WebhookEndpoint.objects.filter(public_id=place["webhook_id"]).values("url", "disabled_at", "secret")),
        WebhookDelivery.objects.filter(endpoint__public_id=place["webhook_id"]).count(),
        list(McpServer.objects.filter(name=place["server"]).values()),
        list(Task.objects.filter(public_id=place["task_id"]).values()),
        list(StoredResponse.objects.filter(public_id__in=[place[name] for name in _RESPONSES]).order_by("pk").values()),
        list(Conversation.objects.filter(public_id=place["conversation_id"]).values("metadata", "items__public_id")),
        list(Space.objects.filter(public_id=place["space_id"]).values()),
        list(Agent.objects.filter(public_id=place["agent_id"]).values()),
        list(ApiKey.objects.filter(tenant__slug="acme").values("pk", "name", "secret_hash", "revoked_at")),
        AuditEntry.objects.filter(tenant__slug="acme").count(),
    ]


async def test_a_test_of_a_tool_is_no_way_past_an_approval(gateway: GatewayHarness, tenant: Any, api: Client) -> None:
    """A key that may not approve does not call what has to be approved, by either door."""
    await database.run(lambda: tenant_update(tenant=tenant, settings={"approvals_in_sessions": False}))
    session = await api.session()
    tool = {"name": "pay", "callbackUrl": "https://example.com/", "requiresApproval": True}
    assert (await api.post(f"/v1/sessions/{session}/tools", tool)).status == 201
    poor = gateway.client(await database.run(caller, tenant, ["sessions"]))
    assert (await poor.post(f"/v1/sessions/{session}/approve", {"approvalId": "apr_1"})).error == (403, "forbidden")
    assert (await poor.post(f"/v1/sessions/{session}/tools/pay/test", {"args": {}})).error == (403, "forbidden")
    assert [frame.event for frame in await api.log(session)] == ["tool_attached"]
