"""The reference's meaning: a sentence for every property, and for every body an example that a gateway accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway_project.openapi import document
from gateway_project.openapi.components import CREDENTIALS
from tests.api.contract import Operation
from tests.api.served import Served, gateway_served

Body = dict[str, Any]
Prepare = Callable[[httpx.Client], tuple[dict[str, str], Body]]
"""Makes what an operation needs; returns the parameters of the path, and fields that take the place of an example's."""

INTERNAL_KEY = "key-between-services-of-these-tests"
SENTENCE = re.compile(r"[A-Z`0-9].*[.…:]\Z", re.DOTALL)


def operations() -> list[Operation]:
    return [
        Operation(method.upper(), path, described)
        for path, item in document()["paths"].items()
        for method, described in item.items()
    ]


def properties(value: Any, place: str = "", told: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yields every property of every schema in `value`, with its place. `told`: properties of the same object, whose
    sentence need not be repeated by a rule between them."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from properties(item, f"{place}/{number}", told)
    elif isinstance(value, dict):
        own = value.get("properties", {})
        inside = told | {name for name, schema in own.items() if isinstance(schema, dict) and "description" in schema}
        for name, item in value.items():
            if name == "example":
                continue
            if name == "properties":
                # False forbids a property.
                found = [(one, schema) for one, schema in item.items() if schema is not False and one not in told]
                yield from ((f"{place}/{one}", schema) for one, schema in found)
            yield from properties(
                item, f"{place}/{name}", inside if name in ("anyOf", "oneOf", "allOf") else frozenset()
            )


def undescribed(value: Any) -> list[str]:
    """Returns the places of properties without a sentence."""
    return [place for place, schema in properties(value) if not SENTENCE.match(schema.get("description", ""))]


def test_every_property_says_what_it_is() -> None:
    assert undescribed(document()) == []


def test_a_property_without_a_sentence_is_noticed() -> None:
    inner = {"properties": {"mute": {"type": "string"}, "bad": {"description": "no sentence"}}}
    found = undescribed({"oneOf": [{"properties": {"good": {"description": "A sentence.", **inner}}}]})
    assert found == ["/oneOf/0/properties/good/mute", "/oneOf/0/properties/good/bad"]


@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.name)
def test_every_operation_has_a_summary_its_errors_and_its_scope(operation: Operation) -> None:
    described = operation.described
    assert re.match(r"[A-Z]", described["summary"])
    assert {"400", "500", "503"} <= set(described["responses"])
    if described["security"]:
        assert {"401", "403", "429"} <= set(described["responses"])
    if {"apiKey": []} in described["security"]:
        assert f"Needs the scope `{described['x-scope']}`." in described["description"]
    else:
        assert "x-scope" not in described
        for (scheme,) in described["security"]:
            assert CREDENTIALS[scheme] in described["description"]


@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.name)
def test_every_body_has_an_example(operation: Operation) -> None:
    for content in operation.described.get("requestBody", {}).get("content", {}).values():
        assert content["example"]


def session(client: httpx.Client, **more: Any) -> str:
    made = client.post("/v1/sessions", json={"model": "demo:tour", **more})
    return str(made.raise_for_status().json()["sessionId"])


def prompted(client: httpx.Client, text: str, **more: Any) -> tuple[str, str]:
    """Returns a session and its run, that has ended or waits."""
    name = session(client, **more)
    sent = client.post(f"/v1/sessions/{name}/prompt?wait=60", json={"text": text})
    return name, str(sent.raise_for_status().json()["requestId"])


def waiting(client: httpx.Client, text: str, state: str, **more: Any) -> tuple[str, str, Body]:
    """Returns a session, its run and its status, once the run waits for what the prompt asks for."""
    name = session(client, **more)
    run = client.post(f"/v1/sessions/{name}/prompt", json={"text": text}).raise_for_status().json()["requestId"]
    return name, str(run), waited_for(client, name, state)


def waited_for(client: httpx.Client, name: str, state: str) -> Body:
    """Returns the session's status, once its run waits."""
    # The stream ends with the event that the run waits after.
    with client.stream("GET", f"/v1/sessions/{name}/events", params={"types": state}) as events:
        assert next(line for line in events.iter_lines() if line.startswith("event:")) == f"event: {state}"
    status: Body = client.get(f"/v1/sessions/{name}/status").raise_for_status().json()
    return status


def in_session(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"session_id": session(client)}, {}


def in_waiting_session(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, run, _ = waiting(client, "approve this", "approval_required")
    return {"session_id": name, "request_id": run}, {}


def with_approval(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, _, status = waiting(client, "approve this", "approval_required")
    return {"session_id": name}, {"approvalId": status["pendingApprovals"][0]["approvalId"]}


def with_question(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, _, status = waiting(client, "ask me", "ask_user", tools=["ask_user"])
    return {"session_id": name}, {"ref": status["pendingQuestions"][0]["ref"]}


def with_client_tool(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, _, status = waiting(client, "use look_up", "tool_call_requested", tools=[{"name": "look_up"}])
    return {"session_id": name}, {"callId": status["pendingTools"][0]["callId"]}


def with_message(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, _ = prompted(client, "Hello")
    (first, *_) = client.get(f"/v1/sessions/{name}/messages").raise_for_status().json()["messages"]
    return {"session_id": name}, {"messageId": first["id"]}


def with_tool(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"session_id": session(client, tools=[{"name": "get_weather"}]), "name": "get_weather"}, {}


def with_webhook(client: httpx.Client) -> tuple[dict[str, str], Body]:
    body = {"url": "https://example.com/hooks", "events": ["agent_end"]}
    return {"webhook_id": client.post("/v1/webhooks", json=body).raise_for_status().json()["id"]}, {}


def with_mcp_server(client: httpx.Client) -> tuple[dict[str, str], Body]:
    client.post("/v1/mcp-servers", json={"name": "tried", "url": "https://example.com/mcp"})
    return {"server": "tried"}, {}


def with_agent(client: httpx.Client) -> tuple[dict[str, str], Body]:
    body = {"id": "tried", "type": "model", "model": "demo:echo"}
    return {"agent_id": client.post("/agents", json=body).raise_for_status().json()["id"]}, {}


def with_space(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"space_id": client.post("/spaces", json={}).raise_for_status().json()["space_id"], "name": "notes.txt"}, {}


def with_conversation(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"conversation_id": client.post("/v1/conversations", json={}).raise_for_status().json()["id"]}, {}


def in_chat(client: httpx.Client, text: str = "", state: str = "") -> tuple[str, Body]:
    """Returns a session of an embedded chat and, where it was told `text`, its status once its run waits. `client` has
    the chat's token in place of its key from then on."""
    asked = {"endUser": "alice", "model": "demo:tour", "origins": ["https://www.example.com"], "approvals": True}
    token = client.post("/v1/embed-tokens", json=asked).raise_for_status().json()["token"]
    status: Body = {}
    with httpx.Client(base_url=client.base_url, headers={"X-Embed-Token": token}, timeout=client.timeout) as chat:
        name = chat.post("/v1/embed/sessions").raise_for_status().json()["sessionId"]
        if text:
            chat.post(f"/v1/embed/sessions/{name}/prompt", json={"text": text}).raise_for_status()
            status = waited_for(client, name, state)
    del client.headers["X-API-Key"]
    client.headers["X-Embed-Token"] = token
    return name, status


def in_new_chat(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"session_id": in_chat(client)[0]}, {}


def in_chat_with_approval(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, status = in_chat(client, "approve this", "approval_required")
    (pending,) = status["pendingApprovals"]
    return {"session_id": name}, {field: pending[field] for field in ("approvalId", "argsHash")}


def in_chat_with_question(client: httpx.Client) -> tuple[dict[str, str], Body]:
    name, status = in_chat(client, "ask me", "ask_user")
    return {"session_id": name}, {"ref": status["pendingQuestions"][0]["ref"]}


def with_tenant(client: httpx.Client) -> tuple[dict[str, str], Body]:
    client.put("/v1/platform/tenants/tried", json={}).raise_for_status()
    return {"tenant": "tried"}, {}


def for_tenant(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {}, with_tenant(client)[0]


def with_tenant_key(client: httpx.Client) -> tuple[dict[str, str], Body]:
    path, _ = with_tenant(client)
    made = client.post("/v1/platform/tenants/tried/keys", json={"name": "tried", "scopes": ["sessions"]})
    return {**path, "key_id": made.raise_for_status().json()["id"]}, {}


def with_user(client: httpx.Client) -> tuple[dict[str, str], Body]:
    client.post("/v1/platform/users", json={"username": "tried"}).raise_for_status()
    return {"username": "tried"}, {}


def with_provider(client: httpx.Client) -> tuple[dict[str, str], Body]:
    entry = {"base_url": "http://127.0.0.1:9/v1", "models": ["one"], "api_key": "none"}
    client.put("/v1/platform/providers/tried", json={"entry": entry}).raise_for_status()
    return {"provider": "tried", "model": "one"}, {}


def with_demo(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"provider": "demo"}, {}


def with_nothing(client: httpx.Client) -> tuple[dict[str, str], Body]:
    return {"token": "cbt_unknown", "session_id": "unknown"}, {}


PREPARED: dict[str, Prepare] = {
    **dict.fromkeys(("changeSession", "prompt", "switchModel", "registerTool", "agentbusSend"), in_session),
    **dict.fromkeys(("abort", "abortRun", "steer"), in_waiting_session),
    **dict.fromkeys(("approve", "reject"), with_approval),
    "respond": with_question,
    "submitToolResult": with_client_tool,
    "forkSession": with_message,
    "testTool": with_tool,
    "changeWebhook": with_webhook,
    "changeMcpServer": with_mcp_server,
    **{f"{name}{version}": with_agent for name in ("meshChangeAgent", "meshHeartbeat") for version in ("", "V1")},
    **{f"{name}{version}": with_space for name in ("meshAddMessage", "meshPutArtifact") for version in ("", "V1")},
    "embedPrompt": in_new_chat,
    "embedDecide": in_chat_with_approval,
    "embedRespond": in_chat_with_question,
    **dict.fromkeys(("putTenant", "changeTenant", "issueTenantKey"), with_tenant),
    "changeTenantKey": with_tenant_key,
    "createUser": for_tenant,
    "changeUser": with_user,
    **dict.fromkeys(("putProvider", "putPrice"), with_provider),
    "testProvider": with_demo,
    **dict.fromkeys(("updateConversation", "addConversationItems"), with_conversation),
}

STATE_DEPENDENT = {
    "submitCallbackResult": (404, "the address of a result is in a callback's body, and good once"),
    "testTool": (409, "the tool is one that a connected client runs, and nobody is connected"),
    "codelabExecuteTool": (404, "there is no such session"),
    "createEmbeddings": (404, "no provider of embeddings has a key, and the demo has none"),
}
"""Examples that need more than a fresh gateway: the status that they get there, and the reason."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with gateway_served(tmp_path_factory.mktemp("reference"), INTERNAL_API_KEY=INTERNAL_KEY) as server:
        yield server


WITH_A_BODY = [one for one in operations() if "requestBody" in one.described]


@pytest.mark.parametrize("operation", WITH_A_BODY, ids=lambda one: one.name)
def test_every_example_works_on_a_fresh_gateway(operation: Operation, server: Served) -> None:
    ((media_type, content),) = operation.described["requestBody"]["content"].items()
    with server.client(**{"X-Internal-Auth": INTERNAL_KEY}) as client:
        path, own = PREPARED.get(operation.name, with_nothing)(client)
        target, example = operation.path.format(**path), content["example"]
        if media_type == "application/json":
            assert set(own) <= set(example)
            sent = client.request(operation.method, target, json={**example, **own})
        else:
            sent = client.request(operation.method, target, content=example, headers={"Content-Type": media_type})
    expected, _ = STATE_DEPENDENT.get(operation.name, (None, ""))
    assert sent.status_code == expected if expected else sent.is_success, sent.text
