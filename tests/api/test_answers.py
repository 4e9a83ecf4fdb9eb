"""Every documented operation is called, and every response is validated against the document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from core_app import clock, database
from events_app.models import WebhookDelivery
from faces.inference.openapi import DOCUMENT as INFERENCE
from tests.api.conftest import make_checking_client
from tests.api.contract import CheckingClient, Contract
from tests.conftest import Caller
from tests.gateway_harness import WAIT, Frame
from tests.tools.scripted_mcp import ScriptedMcp, tool
from tools_app.executors.mcp import SERVERS

STREAMED = {"followGroup", "followActivity", "openSocket", "agentbus", "agentbusRoot", "agentbusWs", "agentbusWsSlash"}
STREAMED |= {"meshEvents", "meshEventsV1", "embedFollow"}
ACP = {"acpEvents", "acpMessage", "acpEnd"}
"""Tested in tests/faces/acp, by the library's own client."""

CODELAB = {"codelabSocket", "codelabSocketV1", "codelabExecuteTool"}
"""Tested in tests/faces/codelab; the tool's endpoint has a key of its own, and answers 503 without one."""
"""Operations without a complete response: their frames are validated below. The model gateway's paths are validated in
tests/faces/inference/test_contract.py, where there is a provider behind them."""

AUTHORIZATIONS = {"connectMcpServer", "completeMcpAuthorization"}
"""Tested in tests/sessions_tools, with an authorization server."""

SUCCESSES = {"prompt": {200, 202}, "followSession": {200, 204}, "ready": {200}}


class Callback:
    """A callback that accepts every call; `addresses` are the URLs for its late results."""

    def __init__(self) -> None:
        self.addresses: asyncio.Queue[str] = asyncio.Queue()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        await self.addresses.put((await request.json())["resultUrl"])
        return web.Response(status=202)


@asynccontextmanager
async def callback_serving() -> AsyncIterator[Callback]:
    callback, application = Callback(), web.Application()
    application.router.add_post("/", callback.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        callback.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield callback
    finally:
        await runner.cleanup()


async def next_of(client: CheckingClient, session: str, request: str, event: str) -> Frame:
    """Returns the first event of that type of a run."""
    async with client.events(session, requestId=request) as reader:
        return await reader.next_of(event)


async def test_every_operation_answers_as_documented(
    checking_client: CheckingClient, contract: Contract, settings: Any
) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    await sessions_and_runs(checking_client)
    await decisions(checking_client)
    async with callback_serving() as callback:
        await tools(checking_client, callback)
    await read_everything(checking_client)
    await waiting_runs(checking_client)
    await webhooks(checking_client)
    await mcp_servers(checking_client)
    await platform(checking_client)
    await keys(checking_client)
    await embedded_chats(checking_client)
    await agentbus(checking_client)
    await codelab(checking_client)
    for prefix in ("", "/v1"):
        await mesh(checking_client, prefix)
    expected = {
        operation.name: SUCCESSES.get(
            operation.name, {int(status) for status in operation.described["responses"] if status < "400"}
        )
        for operation in contract.operations()
        if operation.name not in STREAMED | CODELAB | ACP | AUTHORIZATIONS
        and set(operation.described["tags"]).isdisjoint(INFERENCE.tags)
    }
    called = {name: statuses & expected.get(name, set()) for name, statuses in contract.seen.items()}
    assert called == expected


async def sessions_and_runs(client: CheckingClient) -> None:
    inline = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    history = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi", "toolCalls": [{"callId": "c1", "name": "look", "arguments": {}}]},
        {"role": "tool_result", "content": "seen", "callId": "c1"},
        {"role": "assistant", "content": "done"},
    ]
    session = await client.session(
        sessionId="one", title="One", groupId="all", userData={"a": 1}, messages=history, tools=[inline]
    )
    await client.patch(f"/v1/sessions/{session}", {"title": None, "userData": {}})
    answer = await client.post(f"/v1/sessions/{session}/prompt?wait=60", {"text": "hello", "endUser": "ann"})
    assert answer.status == 200
    messages = (await client.get(f"/v1/sessions/{session}/messages")).json["messages"]
    fork = await client.post(f"/v1/sessions/{session}/fork", {"messageId": messages[-1]["id"]})
    assert fork.status == 201
    await client.post(f"/v1/sessions/{session}/switch_model", {"model": "demo:tour"})
    failed = await client.run(session, "fail please")
    assert failed["error"] is not None
    await client.post(f"/v1/sessions/{session}/stream-token")


async def decisions(client: CheckingClient) -> None:
    session = await client.session(model="demo:tour")
    path = f"/v1/sessions/{session}"
    for decision in ("approve", "reject"):
        request = await client.prompt(session, "please approve")
        asked = await next_of(client, session, request, "approval_required")
        assert (await client.get(f"{path}/status")).json["pendingApprovals"] != []
        await client.post(f"{path}/{decision}", {"approvalId": asked.data["approvalId"]})
        await client.follow_run(session, request)
    request = await client.prompt(session, "ask me")
    asked = await next_of(client, session, request, "ask_user")
    assert (await client.get(f"{path}/status")).json["pendingQuestions"] != []
    await client.post(f"{path}/respond", {"ref": asked.data["ref"], "response": "Yes"})
    await client.follow_run(session, request)


async def tools(client: CheckingClient, callback: Callback) -> None:
    session = await client.session(model="demo:tour", tools=["current_time"])
    path = f"/v1/sessions/{session}"
    await client.post(f"{path}/tools", {"name": "mine", "parameters": {"type": "object"}, "hint": "Mine."})
    await client.post(f"{path}/tools", {"name": "later", "callbackUrl": callback.url})
    await client.get(f"{path}/tools")
    tried = await client.post(f"{path}/tools/later/test", {"args": {}})
    assert tried.json["status"] == "accepted"
    await callback.addresses.get()
    request = await client.prompt(session, "use mine")
    asked = await next_of(client, session, request, "tool_call_requested")
    assert (await client.get(f"{path}/status")).json["pendingTools"] != []
    await client.post(f"{path}/tool-results", {"callId": asked.data["callId"], "result": {"found": [1]}})
    await client.follow_run(session, request)
    request = await client.prompt(session, "use later")
    async with asyncio.timeout(WAIT):
        address = await callback.addresses.get()
    placed = await client.post("/v1/callbacks/" + address.rpartition("/")[2], {"result": "late"})
    assert placed.status == 200
    await client.follow_run(session, request)
    await client.delete(f"{path}/tools/mine")
    await remembered_approvals(client)


async def remembered_approvals(client: CheckingClient) -> None:
    session = await client.session(model="demo:tour", tools=[{"name": "mine", "requiresApproval": True}])
    path = f"/v1/sessions/{session}"
    asked = await next_of(client, session, await client.prompt(session, "use mine"), "approval_required")
    decision = await client.post(f"{path}/approve", {"approvalId": asked.data["approvalId"], "remember": "session"})
    assert decision.json["remembered"] is True
    assert (await client.get(f"{path}/remembered-approvals")).json["tools"] != []
    await client.delete(f"{path}/remembered-approvals/mine")
    await client.post(f"{path}/abort", {})


async def read_everything(client: CheckingClient) -> None:
    await client.get("/v1/sessions?limit=1")
    await client.get("/v1/sessions?state=idle&groupId=all&since=2020-01-01T00:00:00Z")
    await client.get("/v1/sessions?model=demo:tour&endUser=eve&until=2020-01-01T00:00:00Z&search=one")
    assert (await client.get("/v1/inbox?limit=1")).status == 200
    for part in ("", "/stats", "/status", "/messages?limit=1", "/runs"):
        assert (await client.get(f"/v1/sessions/one{part}")).status == 200
    for run in (await client.get("/v1/sessions/one/runs")).json["runs"]:
        await client.get(f"/v1/sessions/one/runs/{run['requestId']}")
        assert (await client.get(f"/v1/sessions/one/runs/{run['requestId']}/responses")).status == 200
    for groups in ("day,key,model", "day", "", "model"):
        assert (await client.get(f"/v1/usage?groupBy={groups}")).json["usage"] != []
    await client.get("/v1/sessions/one/events?format=json")
    await client.get("/v1/sessions/one/events?format=json&since=99999&limit=1")
    for probe in ("/", "/healthz", "/readyz", "/metrics"):
        assert (await client.get(probe)).status == 200


async def waiting_runs(client: CheckingClient) -> None:
    session = await client.session(model="demo:tour", tools=[{"name": "mine"}])
    path = f"/v1/sessions/{session}"
    for abort in ("abort", "runs/{}/abort"):
        request = await client.prompt(session, "use mine")
        await next_of(client, session, request, "tool_call_requested")
        assert (await client.post(f"{path}/steer", {"text": "hurry"})).status == 202
        assert (await client.post(f"{path}/prompt", {"text": "next", "whenBusy": "steer"})).status == 202
        await client.post(f"{path}/{abort.format(request)}", {"reason": "enough"})
    await client.delete(path)
    head = (await client.get(f"{path}/status")).json["lastEventIndex"]
    assert (await client.get(f"{path}/events?since={head}")).status == 204
    assert (await client.delete(f"{path}?purge=true")).status == 204
    assert (await client.get(path)).status == 404


async def webhooks(client: CheckingClient) -> None:
    # Nothing listens on port 1, so every delivery stays.
    made = await client.post("/v1/webhooks", {"url": "http://127.0.0.1:1/", "events": ["agent_end"]})
    path = f"/v1/webhooks/{made.json['id']}"
    assert (await client.get("/v1/webhooks")).json["webhooks"] != []
    await client.get(path)
    await client.patch(path, {"description": "mine", "events": ["agent_end", "ask_user"]})
    await client.post(f"{path}/rotate")
    await client.run(await client.session(), "hello")
    assert (await client.post(f"{path}/test")).json["type"] == "test"
    test, end = (await client.get(f"{path}/deliveries?status=pending&limit=2")).json["deliveries"]
    assert {test["type"], end["type"]} == {"test", "agent_end"}
    await mark_dead(end["id"])
    assert (await client.post(f"{path}/deliveries/{end['id']}/redeliver")).json["status"] == "pending"
    await mark_dead(end["id"])
    assert (await client.post(f"{path}/redeliver")).json == {"redelivered": 1}
    await client.delete(path)


async def mcp_servers(client: CheckingClient) -> None:
    server = ScriptedMcp().start()
    try:
        server.tools = [tool("good"), tool("bad", {"type": "array"})]
        await client.post("/v1/mcp-servers", {"name": "mine", "url": server.url})
        path = "/v1/mcp-servers/mine"
        assert (await client.post(f"{path}/test")).json["state"] == "ok"
        assert (await client.get(path)).json["leftOut"] != []
        assert len((await client.get("/v1/mcp-servers")).json["servers"]) == 1
        await client.patch(path, {"description": "mine"})
        await client.post(f"{path}/disconnect")
        await client.delete(path)
        await client.get("/v1/mcp-oauth/client.json")
    finally:
        SERVERS.close_all()
        server.stop()


async def platform(client: CheckingClient) -> None:
    await platform_tenants(client)
    made = await client.post("/v1/platform/users", {"username": "alice", "tenant": "built", "role": "staff"})
    assert made.json["password"]
    await client.post("/v1/platform/users", {"username": "bob", "password": "correct horse battery"})
    await client.get("/v1/platform/users?limit=1")
    await client.get("/v1/platform/users/alice")
    await client.patch("/v1/platform/users/alice", {"disabled": True})
    entry = {"base_url": "http://127.0.0.1:9/v1", "models": ["one"], "api_key": "none", "headers": {"X-A": "b"}}
    for status in (201, 200):
        answer = await client.ask("PUT", "/v1/platform/providers/local", {"entry": entry})
        assert (answer.status, answer.json["sources"]) == (status, ["database"])
    assert (await client.post("/v1/platform/providers/local/test")).json["ok"] is False
    await client.get("/v1/platform/providers")
    await client.get("/v1/platform/providers/local")
    price = "/v1/platform/prices/local/one"
    for status in (201, 200):
        assert (await client.ask("PUT", price, {"input": 0.27, "output": 1.1, "cached": 0.07})).status == status
    await client.get("/v1/platform/prices?limit=1")
    await client.get(price)
    await client.delete(price)
    await client.delete("/v1/platform/providers/local")
    budget = {"tenant": "built", "period": "day", "tokens": 10, "usd": 1.5}
    for status in (201, 200):
        answer = await client.ask("PUT", "/v1/platform/budgets", budget)
        assert answer.status == status
    await client.get("/v1/platform/budgets?tenant=built")
    await client.get(f"/v1/platform/budgets/{answer.json['id']}")
    await client.delete(f"/v1/platform/budgets/{answer.json['id']}")
    await client.get("/v1/platform/audit?limit=5")
    assert (await client.delete("/v1/platform/tenants/built")).json["complete"]


async def platform_tenants(client: CheckingClient) -> None:
    await client.post("/v1/platform/tenants", {"slug": "built", "settings": {"rpm": 10}})
    for status in (201, 200):
        assert (await client.ask("PUT", "/v1/platform/tenants/put", {"name": "Put"})).status == status
    await client.get("/v1/platform/tenants?limit=1")
    await client.get("/v1/platform/tenants/built")
    await client.patch("/v1/platform/tenants/built", {"settings": {"rpm": None, "max_sessions": 5}})
    keys = "/v1/platform/tenants/built/keys"
    issued = (await client.post(keys, {"name": "one", "scopes": ["sessions"]})).json
    await client.get(f"{keys}?state=active&name=one")
    await client.get(f"{keys}/{issued['id']}")
    await client.patch(f"{keys}/{issued['id']}", {"rpm": 7, "expiresAt": "2030-01-01T00:00:00Z"})
    assert (await client.post(f"{keys}/{issued['id']}/rotate")).json["secret"] != issued["secret"]
    await client.delete(f"{keys}/{issued['id']}")


async def keys(client: CheckingClient) -> None:
    issued = (await client.post("/v1/keys", {"name": "one", "scopes": ["sessions"]})).json
    path = f"/v1/keys/{issued['id']}"
    assert (await client.get("/v1/keys?limit=1")).json["keys"] != []
    assert (await client.get(path)).json["state"] == "active"
    assert (await client.post(f"{path}/rotate")).json["secret"] != issued["secret"]
    assert (await client.delete(path)).status == 204


async def embedded_chats(client: CheckingClient) -> None:
    asked = {"endUser": "ann", "model": "demo:tour", "origins": ["https://www.example.com"], "approvals": True}
    shown = {"x-embed-token": (await client.post("/v1/embed-tokens", asked)).json["token"]}
    chat = make_checking_client(None, client.contract)
    session = (await chat.post("/v1/embed/sessions", headers=shown)).json["sessionId"]
    path = f"/v1/embed/sessions/{session}"

    async def say(text: str, event: str) -> Frame:
        """Returns what the agent waits with."""
        sent = await chat.post(f"{path}/prompt", {"text": text}, headers=shown)
        return await next_of(client, session, sent.json["requestId"], event)

    approval = (await say("please approve", "approval_required")).data
    decision = {"approvalId": approval["approvalId"], "argsHash": approval["argsHash"], "approve": True}
    assert (await chat.post(f"{path}/decide", decision, headers=shown)).status == 200
    question = (await say("ask me", "ask_user")).data
    await chat.post(f"{path}/respond", {"ref": question["ref"], "response": "Yes"}, headers=shown)
    await say("ask me", "ask_user")
    assert (await chat.post(f"{path}/abort", headers=shown)).status == 202
    assert (await chat.get(path, headers=shown)).json["state"] == "idle"
    assert (await chat.get(f"{path}/messages", headers=shown)).json["messages"] != []


async def mark_dead(delivery_id: str) -> None:
    """Changes the delivery as its last failed attempt does."""

    def change() -> None:
        with database.write_transaction():
            WebhookDelivery.objects.filter(pk=delivery_id).update(
                state="dead", due_at=None, claim=None, last_error="unreachable", settled_at=clock.now()
            )

    await database.run(change)


async def agentbus(client: CheckingClient) -> None:
    for path in ("/status", "/health", "/api/v1/clients", "/api/v1/stats"):
        assert (await client.get(path)).status == 200
    await client.post("/api/v1/sessions", {"session_id": "bus", "client_id": "one", "model": "demo:echo"})
    sent = await client.post("/api/v1/sessions/bus/messages", {"message": "hello"})
    await client.follow_run("bus", sent.json["run_id"])
    for path in ("/api/v1/sessions", "/api/v1/sessions/bus", "/api/v1/sessions/bus/messages"):
        assert (await client.get(path)).status == 200
    await client.delete("/api/v1/sessions/bus")


async def codelab(client: CheckingClient) -> None:
    session = await client.session(model="demo:tour", builtinTools=["ask_user"], tools=[{"name": "mine"}])
    request = await client.prompt(session, "use mine")
    asked = await next_of(client, session, request, "tool_call_requested")
    await client.post(f"/v1/sessions/{session}/tool-results", {"callId": asked.data["callId"], "error": "no"})
    await client.follow_run(session, request)
    for path in (
        "/api/v1/agents",
        f"/api/v1/agents/{session}/current",
        f"/api/v1/sessions/{session}/history?limit=5",
        f"/api/v1/sessions/{session}/pending-approvals",
        f"/api/v1/events/audit-log?session_id={session}",
        "/api/v1/events/audit-log",
        "/api/v1/events/metrics",
    ):
        assert (await client.get(path)).status == 200


async def mesh(client: CheckingClient, prefix: str) -> None:
    for path in ("/health", "/ws-info", "/agents"):
        assert (await client.get(f"{prefix}{path}")).status == 200
    agent = {"id": f"mine{prefix[1:]}", "type": "model", "model": "demo:echo"}
    assert (await client.post(f"{prefix}/agents", agent)).status == 201
    path = f"{prefix}/agents/{agent['id']}"
    await client.get(path)
    await client.patch(path, {"name": "Mine"})
    await client.post(f"{path}/heartbeat")
    space = (await client.post(f"{prefix}/spaces", {"metadata": {"a": 1}})).json["space_id"]
    assert len((await client.get(f"{prefix}/spaces?limit=1")).json) == 1
    await client.get(f"{prefix}/spaces/{space}")
    await client.post(f"{prefix}/spaces/{space}/messages", {"content": "hello", "metadata": {"b": 2}})
    await client.get(f"{prefix}/spaces/{space}/messages")
    artifact = f"{prefix}/spaces/{space}/artifacts/hello.txt"
    await client.ask("PUT", artifact, body=b"hello", headers={"content-type": "application/octet-stream"})
    await client.get(f"{prefix}/spaces/{space}/artifacts")
    assert len((await client.get(f"{prefix}/spaces/{space}/search?q=hello")).json["results"]) == 2
    await client.get(artifact)
    await client.delete(artifact)
    body = {"target": agent["id"], "payload": {"task": "hello", "context": {"shared_space_id": space}}}
    task = (await client.post(f"{prefix}/tasks", body)).json["task_id"]
    await client.get(f"{prefix}/tasks?limit=1")
    await client.get(f"{prefix}/tasks/{task}")
    await client.post(f"{prefix}/pipeline", {"steps": [{"agentId": agent["id"]}], "input": "hello"})
    await client.post(f"{prefix}/events/token")
    await client.post(f"{prefix}/broadcast", {"type": "hello", "data": None})
    # A task that has not ended yet: its only agent waits for an approval.
    waiting = {"id": f"waits{prefix[1:]}", "type": "model", "model": "demo:tour"}
    await client.post(f"{prefix}/agents", waiting)
    asked = {"target": waiting["id"], "payload": {"task": "please approve"}}
    task = (await client.post(f"{prefix}/tasks", asked)).json["task_id"]
    assert (await client.post(f"{prefix}/tasks/{task}/cancel")).status == 200
    await client.delete(path)


@pytest.mark.parametrize("who", ["colleague", "stranger", "nobody"])
async def test_who_may_not_is_answered_as_documented(
    who: str, checking_client: CheckingClient, contract: Contract, colleague: Caller, stranger: Caller
) -> None:
    session = await checking_client.session(model="demo:echo", groupId="all")
    client = make_checking_client({"colleague": colleague, "stranger": stranger, "nobody": None}[who], contract)
    refused = {"colleague": {403}, "stranger": {400, 404}, "nobody": {401}}[who]
    for operation in contract.operations():
        if who == "stranger" and operation.name in {"meshEvents", "meshEventsV1", "followActivity"}:
            continue  # Their own tenant's events, which do not end.
        path = operation.path.format(
            agent_id="nobody",
            task_id="task_x",
            space_id="space-x",
            response_id="resp_x",
            conversation_id="conv_x",
            background_id="bg_x",
            completion_id="bg_x_chat",
            message_id="bg_x_message",
            item_id="msg_x",
            session_id=session,
            request_id="run_x",
            name="mine",
            group_id="all",
            token="no-token",
            webhook_id="whk_x",
            server="nothing",
            delivery_id="msg_x",
            provider="nobody",
            model_id="nobody",
            tenant="nobody",
            key_id="key_0",
            username="nobody",
            model="nothing",
            budget_id="bud_0",
        )
        answer = await client.ask(operation.method, path, {} if operation.method == "POST" else None)
        if operation.path.startswith("/v1/sessions/{session_id}") and operation.name not in STREAMED:
            assert answer.status in refused, operation.name


async def test_events_are_as_documented(checking_client: CheckingClient, contract: Contract) -> None:
    session = await checking_client.session(model="demo:tour", groupId="all", tools=[{"name": "mine"}])
    async with checking_client.events(session, path="/v1/groups/all/events") as group:
        request = await checking_client.prompt(session, "think and use mine")
        asked = await next_of(checking_client, session, request, "tool_call_requested")
        await checking_client.post(
            f"/v1/sessions/{session}/tool-results", {"callId": asked.data["callId"], "error": "no"}
        )
        await checking_client.follow_run(session, request)
        of_group = [await group.next()]
        while of_group[-1].event != "agent_end":
            of_group.append(await group.next())
    of_session = await checking_client.log(session)
    assert {frame.event for frame in of_group} < {frame.event for frame in of_session}
    for frame in (*of_group, *of_session):
        value = {"id": frame.id, "event": frame.event, "data": frame.data}
        contract.validate({"$ref": "#/components/schemas/Event"}, value, frame.event)
