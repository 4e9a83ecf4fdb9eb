"""The REST API: status, sessions, messages, clients and counts, with keys and with Basic credentials."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from core_app import database
from tenants_app.models import Tenant, User
from tests.conftest import Caller
from tests.faces.agentbus.bus_client import signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("path", ["/status", "/health"])
async def test_the_status_needs_no_key(gateway: GatewayHarness, path: str) -> None:
    answer = await gateway.client(None).get(path)
    assert answer.status == 200
    # `/health` is one answer for all protocols, and has more.
    assert {"name", "version", "status", "timestamp", "uptime"} <= set(answer.json)
    assert answer.json["status"] == "ok"


async def test_a_session_is_created_sent_to_read_and_deleted(api: Client) -> None:
    created = await api.post("/api/v1/sessions", {"session_id": "rest-1", "client_id": "me", "model": "demo:echo"})
    assert created.status == 201
    assert set(created.json) == {"session_id", "client_id", "created_at"}
    sent = await api.post("/api/v1/sessions/rest-1/messages", {"message": "hello"})
    assert sent.status == 202
    await api.follow_run("rest-1", sent.json["run_id"])
    history = (await api.get("/api/v1/sessions/rest-1/messages")).json
    assert [message["content"] for message in history["messages"]] == ["hello", "hello"]
    assert history["messages"][0]["message_id"] == sent.json["message_id"]
    shown = (await api.get("/api/v1/sessions/rest-1")).json
    assert (shown["session_id"], shown["id"], shown["client_id"], shown["message_count"]) == (
        "rest-1",
        "rest-1",
        "me",
        2,
    )
    assert isinstance(shown["created_at"], float)
    assert [session["id"] for session in (await api.get("/api/v1/sessions")).json["sessions"]] == ["rest-1"]
    assert (await api.delete("/api/v1/sessions/rest-1")).json == {"session_id": "rest-1", "status": "deleted"}
    assert (await api.get("/api/v1/sessions")).json["sessions"] == []


async def test_errors_have_the_protocols_shape(api: Client, gateway: GatewayHarness, stranger: Caller) -> None:
    missing = await api.get("/api/v1/sessions/none")
    assert (missing.status, missing.json["error"]["code"]) == (404, 4004)
    assert set(missing.json["error"]) == {"code", "message"}
    refused = await gateway.client(None).get("/api/v1/sessions")
    assert (refused.status, refused.json["error"]["code"]) == (401, 4001)
    await api.post("/api/v1/sessions", {"session_id": "mine", "model": "demo:echo"})
    foreign = await gateway.client(stranger).get("/api/v1/sessions/mine")
    assert (foreign.status, foreign.json) == (404, {"error": {"code": 4004, "message": "There is no session 'mine'."}})
    wrong = await api.post("/api/v1/sessions/mine/messages", {"message": ""})
    assert (wrong.status, wrong.json["error"]["code"]) == (400, 4000)


async def test_a_user_may_use_basic_credentials(gateway: GatewayHarness, tenant: Tenant, settings: Any) -> None:
    await database.run(User.objects.create_user, "ann", password="secret: of ann", tenant=tenant, scopes=["sessions"])
    client = gateway.client(None)

    def basic(text: str) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    # A password is a way to sign in, whatever the wire.
    assert (await client.get("/api/v1/stats", headers=basic("ann:secret: of ann"))).status == 401
    settings.GATEWAY_AUTH_MODES = ["token", "password"]
    assert (await client.get("/api/v1/stats", headers=basic("ann:secret: of ann"))).status == 200
    assert (await client.get("/api/v1/stats", headers={"Authorization": "Basic ???"})).status == 401
    for _ in range(5):
        assert (await client.get("/api/v1/stats", headers=basic("ann:wrong"))).status == 401
    locked = await client.get("/api/v1/stats", headers=basic("ann:secret: of ann"))
    assert (locked.status, locked.json["error"]["code"]) == (429, 4029)


async def test_connected_clients_and_counts_are_real(server: LiveServer, api: Client, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret, client_id="one", platform="linux") as client:
        await client.call("chat.sessions.create", session_id="counted", model="demo:echo")
        shown: dict[str, Any] = (await api.get("/api/v1/clients")).json["clients"][0]
        assert (shown["client_id"], shown["platform"], shown["state"]) == ("one", "linux", "connected")
        stats = (await api.get("/api/v1/stats")).json
        assert (stats["connections"], stats["total_sessions"], stats["active_runs"]) == (1, 1, 0)
        assert stats["requests_total"] >= 2
        assert stats["memory_usage"] > 1_000_000


SHOWN = {
    "session_id",
    "client_id",
    "message_count",
    "created_at",
    "updated_at",
    "state",
    "id",
    "title",
    "last_activity",
    "is_active",
    "current_agent",
}
STATUS = {"name", "version", "status", "timestamp", "uptime"}
ENDPOINTS: dict[str, tuple[int, set[str], Any]] = {
    "GET /status": (200, STATUS, None),
    "GET /health": (200, STATUS, None),
    "GET /api/v1/sessions": (200, {"sessions"}, None),
    "POST /api/v1/sessions": (201, {"session_id", "client_id", "created_at"}, {}),
    "GET /api/v1/sessions/here": (200, SHOWN, None),
    "DELETE /api/v1/sessions/here": (200, {"session_id", "status"}, None),
    "GET /api/v1/sessions/here/messages": (200, {"session_id", "messages", "total"}, None),
    "POST /api/v1/sessions/here/messages": (202, {"run_id", "message_id"}, {"message": "hello", "type": "text"}),
    "GET /api/v1/clients": (200, {"clients"}, None),
    "GET /api/v1/stats": (
        200,
        {"connections", "uptime", "memory_usage", "requests_total", "total_sessions", "active_runs"},
        None,
    ),
}
OPEN = ("GET /status", "GET /health")


async def ask(client: Client, endpoint: str, body: Any) -> Any:
    method, path = endpoint.split()
    if method == "POST":
        return await client.post(path, body)
    return await (client.get(path) if method == "GET" else client.delete(path))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_endpoint_answers_with_its_fields(
    api: Client, gateway: GatewayHarness, stranger: Caller, endpoint: str
) -> None:
    await api.post("/api/v1/sessions", {"session_id": "here", "model": "demo:echo"})
    status, fields, body = ENDPOINTS[endpoint]
    answer = await ask(gateway.client(None), endpoint, body)
    assert answer.status == (status if endpoint in OPEN else 401)
    if endpoint not in OPEN:
        assert answer.json == {"error": {"code": 4001, "message": answer.json["error"]["message"]}}
    if "here" in endpoint:
        foreign = await ask(gateway.client(stranger), endpoint, body)
        assert (foreign.status, foreign.json["error"]["code"]) == (404, 4004)
    answer = await ask(api, endpoint, body)
    assert (answer.status, set(answer.json)) == (status, fields)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/sessions", {"session_id": "a b"}, 400),
        ("/api/v1/sessions", {"session_id": 7}, 400),
        ("/api/v1/sessions", {"model": "none:such"}, 422),
        ("/api/v1/sessions", {"agent": "none"}, 422),
        ("/api/v1/sessions", {"client_id": "x" * 129}, 400),
        ("/api/v1/sessions", [], 400),
        ("/api/v1/sessions/here/messages", {}, 400),
        ("/api/v1/sessions/here/messages", {"message": "  "}, 400),
        ("/api/v1/sessions/here/messages", {"message": ["text"]}, 400),
    ],
)
async def test_a_body_that_cannot_be_used_is_refused(api: Client, path: str, body: Any, status: int) -> None:
    await api.post("/api/v1/sessions", {"session_id": "here", "model": "demo:echo"})
    answer = await api.post(path, body)
    assert (answer.status, answer.json["error"]["code"]) == (status, 4000), answer.json


@pytest.mark.parametrize("limit", ["-1", "x", "1.5"])
async def test_a_limit_that_is_none_is_refused(api: Client, limit: str) -> None:
    await api.post("/api/v1/sessions", {"session_id": "here", "model": "demo:echo"})
    for path in ("/api/v1/sessions", "/api/v1/sessions/here/messages"):
        answer = await api.get(f"{path}?limit={limit}")
        assert (answer.status, answer.json["error"]["code"]) == (400, 4000)


async def test_the_newest_messages_are_limited(api: Client) -> None:
    await api.post("/api/v1/sessions", {"session_id": "here", "model": "demo:echo"})
    for text in ("one", "two"):
        await api.run("here", text)
    history = (await api.get("/api/v1/sessions/here/messages?limit=2")).json
    assert [message["content"] for message in history["messages"]] == ["two", "two"]
    assert history["total"] == 4
