"""The tools of a session over REST: registration, lists, replacement, removal and tests."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness
from tests.tools.conftest import CallbackServer

DIGITS = "1" + "0" * 22 + "1"
"""A number beyond 64 bits, which no double is."""

TOOL = {
    "name": "lookup",
    "description": "Looks things up.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


def path_of(session: str, *parts: str) -> str:
    return "/".join((f"/v1/sessions/{session}/tools", *parts))


async def names(client: Client, session: str) -> list[str]:
    return [tool["name"] for tool in (await client.get(path_of(session))).json["tools"]]


async def test_a_registered_tool_is_shown_listed_announced_and_called(api: Client, server: CallbackServer) -> None:
    session = await api.session(model="demo:tour")
    answer = await api.post(path_of(session), {**TOOL, "callbackUrl": server.url, "hint": "h", "timeoutMs": 1000})
    assert answer.status == 201
    shown = answer.json
    assert (shown["name"], shown["callbackUrl"], shown["timeoutMs"]) == ("lookup", server.url, 1000)
    assert (shown["requiresApproval"], shown["hint"], shown["idempotent"]) == (False, "h", True)
    assert "secret" not in shown
    assert (await api.get(path_of(session))).json == {"tools": [shown]}
    run = await api.run(session, 'use lookup {"q": "tea"}')
    assert run["lastMessage"]["content"].endswith("lookup answered: done")
    body = server.received[0].json
    assert (body["toolName"], body["args"], body["sessionId"]) == ("lookup", {"q": "tea"}, session)
    events = [(frame.event, frame.data.get("toolName")) for frame in await api.log(session)]
    assert events[0] == ("tool_attached", "lookup")


async def test_the_same_name_again_replaces_the_tool(api: Client) -> None:
    session = await api.session()
    await api.post(path_of(session), TOOL)
    await api.post(path_of(session), {**TOOL, "description": "Another."})
    [tool] = (await api.get(path_of(session))).json["tools"]
    assert tool["description"] == "Another."


async def test_a_removed_tool_is_gone_and_announced(api: Client) -> None:
    session = await api.session(tools=[TOOL, {"name": "other"}])
    assert (await api.delete(path_of(session, "lookup"))).status == 204
    assert await names(api, session) == ["other"]
    assert (await api.delete(path_of(session, "lookup"))).error == (404, "not_found")
    assert (await api.log(session))[-1].event == "tool_detached"


async def test_an_idempotency_key_registers_once(api: Client) -> None:
    session = await api.session()
    for replayed in (None, "true"):
        answer = await api.post(path_of(session), TOOL, headers={"Idempotency-Key": "once"})
        assert (answer.status, answer.headers.get("idempotent-replayed")) == (201, replayed)
    assert [frame.event for frame in await api.log(session)] == ["tool_attached"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "not a name"}, "name"),
        ({"name": "ask_user"}, "name"),
        ({"name": None}, "name"),
        ({"parameters": {"type": "nonsense"}}, "parameters"),
        ({"parameters": []}, "parameters"),
        ({"callbackUrl": "ftp://example.test/"}, "callbackUrl"),
        ({"callbackUrl": 7}, "callbackUrl"),
        ({"timeoutMs": 99}, "timeoutMs"),
        ({"requiresApproval": "yes"}, "requiresApproval"),
        ({"secret": "short"}, "secret"),
    ],
)
async def test_a_bad_registration_is_refused_by_its_field(api: Client, change: dict[str, Any], field: str) -> None:
    session = await api.session()
    answer = await api.post(path_of(session), {**TOOL, **change})
    assert (answer.error, answer.field) == ((400, "bad_request"), field)
    assert await names(api, session) == []


async def test_a_registration_is_an_object(api: Client) -> None:
    session = await api.session()
    assert (await api.post(path_of(session), [TOOL])).error == (400, "bad_request")


async def test_a_private_address_is_refused_by_naming_the_setting(api: Client, settings: Any) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
    session = await api.session()
    answer = await api.post(path_of(session), {**TOOL, "callbackUrl": "https://127.0.0.1/"})
    assert (answer.error, answer.field) == ((400, "bad_request"), "callbackUrl")
    assert "GATEWAY_CALLBACK_ALLOW_PRIVATE" in answer.json["message"]


async def test_a_closed_session_keeps_its_tools_as_they_are(api: Client) -> None:
    session = await api.session(tools=[TOOL])
    await api.delete(f"/v1/sessions/{session}")
    assert (await api.post(path_of(session), {"name": "late"})).error == (409, "conflict")
    assert (await api.delete(path_of(session, "lookup"))).error == (409, "conflict")
    assert (await api.post(path_of(session, "lookup", "test"), {"args": {"q": "x"}})).error == (409, "conflict")
    assert await names(api, session) == ["lookup"]


async def test_tools_are_their_tenants(
    api: Client, gateway: GatewayHarness, stranger: Caller, colleague: Caller
) -> None:
    session = await api.session(tools=[TOOL])
    for who, error in ((stranger, (404, "session_not_found")), (colleague, (403, "forbidden"))):
        client = gateway.client(who)
        assert (await client.get(path_of(session))).error == error
        assert (await client.post(path_of(session), TOOL)).error == error
        assert (await client.delete(path_of(session, "lookup"))).error == error
        assert (await client.post(path_of(session, "lookup", "test"), {})).error == error


async def test_a_tool_is_tried_without_a_run(api: Client, server: CallbackServer) -> None:
    session = await api.session(tools=[{**TOOL, "callbackUrl": server.url, "requiresApproval": True}])
    answer = await api.post(path_of(session, "lookup", "test"), {"args": {"q": "tea"}})
    assert answer.status == 200
    assert (answer.json["status"], answer.json["result"]) == ("ok", "done")
    assert server.received[0].json["requestId"] is None
    assert "tool_execution_start" not in [frame.event for frame in await api.log(session)]


@pytest.mark.parametrize(
    ("name", "body", "error", "field"),
    [
        ("lookup", {"args": {}}, (400, "bad_request"), "args"),
        ("lookup", {"args": 7}, (400, "bad_request"), "args"),
        ("lookup", b"{", (400, "bad_request"), None),
        ("none", {}, (404, "not_found"), "name"),
        ("mine", {}, (409, "conflict"), "name"),
    ],
)
async def test_what_cannot_be_tried_is_refused(
    api: Client, server: CallbackServer, name: str, body: Any, error: tuple[int, str], field: str | None
) -> None:
    session = await api.session(tools=[{**TOOL, "callbackUrl": server.url}, {"name": "mine"}])
    given: dict[str, Any] = {"body": body} if isinstance(body, bytes) else {"payload": body}
    answer = await api.ask("POST", path_of(session, name, "test"), **given)
    assert (answer.error, answer.field) == (error, field)
    assert server.received == []


async def test_a_trial_is_a_post_of_json(api: Client) -> None:
    session = await api.session(tools=[TOOL])
    trial = path_of(session, "lookup", "test")
    assert (await api.get(trial)).error == (405, "method_not_allowed")
    answer = await api.post(trial, body=b"q=tea", headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.error == (415, "unsupported_media_type")
    assert (await api.post(trial, body=b"x" * (1024 * 1024 + 1))).error == (413, "payload_too_large")


async def test_trials_are_bounded_by_tenant(api: Client, settings: Any, server: CallbackServer) -> None:
    session = await api.session(tools=[{**TOOL, "callbackUrl": server.url}])
    settings.GATEWAY_MAX_FOLLOWERS_PER_TENANT = 0
    answer = await api.post(path_of(session, "lookup", "test"), {"args": {"q": "tea"}})
    assert answer.error == (429, "rate_limited")
    assert server.received == []


async def test_a_prompt_may_carry_its_attachments_and_nothing_else_may_be_so_long(api: Client, settings: Any) -> None:
    settings.GATEWAY_MAX_ATTACHMENT_BYTES = 3 * 1024 * 1024
    session = await api.session(model="demo:tour")
    image = {"type": "image", "mediaType": "image/png", "data": "QUJD" * (1024 * 1024)}
    run = await api.run(session, "what is this?", attachments=[image])
    assert "[image/png]" in run["lastMessage"]["content"]
    more = {**image, "data": "QUJD" * (1024 * 1024 + 1)}
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "x", "attachments": [more]})
    assert (answer.error, answer.field) == ((400, "bad_request"), "attachments")
    whole = b" " * (1024 * 1024 + 4 * 1024 * 1024 + 1)
    assert (await api.post(f"/v1/sessions/{session}/prompt", body=whole)).error == (413, "payload_too_large")
    assert (await api.post(f"/v1/sessions/{session}/steer", body=whole)).error == (413, "payload_too_large")


async def test_the_digits_of_an_argument_reach_approver_callback_and_events(
    api: Client, server: CallbackServer
) -> None:
    session = await api.session(
        model="demo:tour", tools=[{**TOOL, "callbackUrl": server.url, "requiresApproval": True}]
    )
    request_id = await api.prompt(session, f'use {TOOL["name"]} {{"q": "x", "n": {DIGITS}}}')
    async with api.events(session, since=0) as reader:
        asked = await reader.next_of("approval_required")
        assert DIGITS in asked.raw.decode()
        decision = {"approvalId": asked.data["approvalId"], "args": {"n": int(DIGITS), "q": "y"}}
        answer = await api.post(f"/v1/sessions/{session}/approve", body=json.dumps(decision).encode())
        assert answer.status == 200, answer.body
    await api.follow_run(session, request_id)
    assert DIGITS in server.received[-1].body.decode()
    events = await api.get(f"/v1/sessions/{session}/events?format=json&since=0&limit=1000")
    assert events.body.decode().count(DIGITS) >= 2


async def test_an_approved_call_is_executed_while_another_waits_for_its_decision(
    api: Client, gateway: GatewayHarness, server: CallbackServer
) -> None:
    session = await api.session(
        model="demo:tour", tools=[{**TOOL, "callbackUrl": server.url, "requiresApproval": True}]
    )
    request_id = await api.prompt(session, 'approve and use lookup {"q": "tea"}')
    async with api.events(session, since=0) as reader:
        asked = {
            event.data["toolName"]: event.data for event in [await reader.next_of("approval_required") for _ in "12"]
        }
    await gateway.wait_idle()
    assert server.received == []
    path = f"/v1/sessions/{session}"
    assert (await api.post(f"{path}/approve", {"approvalId": asked["lookup"]["approvalId"]})).status == 200
    await gateway.wait_idle()
    assert [received.json["args"] for received in server.received] == [{"q": "tea"}]
    status = (await api.get(f"{path}/status")).json
    assert (status["state"], status["run"]["status"]) == ("waiting_approval", "waiting")
    assert (await api.post(f"{path}/reject", {"approvalId": asked["demo_approval"]["approvalId"]})).status == 200
    end = await api.follow_run(session, request_id)
    assert "lookup answered: done" in end["lastMessage"]["content"]
    assert len(server.received) == 1


async def test_of_three_approvals_the_second_is_executed_though_it_came_while_the_first_was(
    api: Client, gateway: GatewayHarness, server: CallbackServer
) -> None:
    """The decision finds the run's leg at work, so the leg's end has to see it."""
    session = await api.session(
        model="demo:tour", tools=[{**TOOL, "callbackUrl": server.url, "requiresApproval": True}]
    )
    request_id = await api.prompt(session, 'approve, use lookup {"q": "1"} use lookup {"q": "2"}')
    async with api.events(session, since=0) as reader:
        asked = [(await reader.next_of("approval_required")).data for _ in range(3)]
    await gateway.wait_idle()
    lookups = [one for one in asked if one["toolName"] == "lookup"]
    first, second = sorted(lookups, key=lambda one: str(one["args"]))
    [last] = [one for one in asked if one["toolName"] == "demo_approval"]
    path, begun, may_end = f"/v1/sessions/{session}", threading.Event(), threading.Event()

    def answer_later(handler: Any) -> None:
        begun.set()
        assert may_end.wait(60)
        server.replies = [(200, b'{"result":"done"}')]
        server.answer(handler)

    server.replies = [answer_later]
    assert (await api.post(f"{path}/approve", {"approvalId": first["approvalId"]})).status == 200
    assert await asyncio.to_thread(begun.wait, 60)
    assert (await api.post(f"{path}/approve", {"approvalId": second["approvalId"]})).status == 200
    may_end.set()
    await gateway.wait_idle()
    assert [received.json["args"]["q"] for received in server.received] == ["1", "2"]
    assert (await api.get(f"{path}/status")).json["state"] == "waiting_approval"
    assert (await api.post(f"{path}/reject", {"approvalId": last["approvalId"]})).status == 200
    await api.follow_run(session, request_id)


async def test_a_tool_that_is_approved_for_good_asks_once(
    api: Client, gateway: GatewayHarness, server: CallbackServer
) -> None:
    session = await api.session(
        model="demo:tour", tools=[{**TOOL, "callbackUrl": server.url, "requiresApproval": True}]
    )
    path = f"/v1/sessions/{session}"
    request_id = await api.prompt(session, 'use lookup {"q": "1"}')
    async with api.events(session, since=0) as reader:
        asked = (await reader.next_of("approval_required")).data
    wrong = await api.post(f"{path}/approve", {"approvalId": asked["approvalId"], "remember": "for ever"})
    assert (wrong.status, wrong.json["field"]) == (400, "remember")
    answer = await api.post(f"{path}/approve", {"approvalId": asked["approvalId"], "remember": "tool"})
    assert answer.json == {"approvalId": asked["approvalId"], "status": "approved", "remembered": True}
    await api.follow_run(session, request_id)
    assert (await api.run(session, 'use lookup {"q": "2"}'))["lastMessage"]["content"].endswith("done")
    resolved = [frame.data["by"] for frame in await api.log(session) if frame.event == "approval_resolved"]
    assert resolved == ["key:test key", "remembered"]
    listed = await api.get(f"{path}/remembered-approvals")
    assert listed.json == {"tools": [{"toolName": "lookup", "by": "key:test key"}]}
    assert (await api.delete(f"{path}/remembered-approvals/lookup")).status == 204
    assert (await api.delete(f"{path}/remembered-approvals/lookup")).error == (404, "not_found")
    await api.prompt(session, 'use lookup {"q": "3"}')
    await gateway.wait_idle()
    assert (await api.get(f"{path}/status")).json["state"] == "waiting_approval"


async def test_remembered_approvals_are_their_tenants(
    api: Client, gateway: GatewayHarness, stranger: Caller, colleague: Caller
) -> None:
    path = f"/v1/sessions/{await api.session()}/remembered-approvals"
    for who, error in ((stranger, (404, "session_not_found")), (colleague, (403, "forbidden"))):
        client = gateway.client(who)
        assert (await client.get(path)).error == error
        assert (await client.delete(f"{path}/lookup")).error == error
