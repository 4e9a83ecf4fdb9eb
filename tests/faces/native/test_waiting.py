"""Runs that wait, settled over REST and over the socket: once, twice, differently, too late, in part, by strangers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from core_app import clock, database
from sessions_app.legs.sweep import sweep
from sessions_app.models import AgentSession
from tenants_app.models import Tenant
from tenants_app.principal import SESSIONS
from tests.conftest import Caller, caller
from tests.faces.native.action_client import TRANSPORTS, ActionClient
from tests.faces.native.live_server import LiveServer, SocketClient
from tests.gateway_harness import Client, GatewayHarness
from tools_app.models import ToolCall

CLIENT_TOOL = {"name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}


@dataclass
class Waiting:
    """A session whose run waits, with a socket that follows it from its beginning."""

    session: str
    request_id: str
    socket: SocketClient
    client: Client
    actions: ActionClient

    async def status(self) -> dict[str, Any]:
        return dict((await self.client.get(f"/v1/sessions/{self.session}/status")).json)

    async def tool_end(self) -> dict[str, Any]:
        return dict((await self.socket.event("tool_execution_end"))["data"])

    async def end(self) -> dict[str, Any]:
        return await self.socket.run_end(self.request_id)

    async def text(self) -> str:
        """Returns the final answer of the run."""
        end = await self.end()
        assert end["event"] == "agent_end", end
        return str(end["data"]["lastMessage"]["content"])


@pytest.fixture
def wait_for(api: Client, server: LiveServer, owner: Caller, gateway: GatewayHarness) -> Any:
    """Starts a run of the demo agent and returns once it waits."""

    @asynccontextmanager
    async def begin(
        transport: str, prompt: str, *events: str, **fields: Any
    ) -> AsyncIterator[tuple[Waiting, list[Any]]]:
        session = await api.session(model="demo:tour", **fields)
        async with server.socket(session, owner) as socket:
            request_id = await socket.prompt(prompt)
            # The calls of one response start together, in any order.
            seen = {event["event"]: event["data"] for event in [await socket.event(*events) for _ in events]}
            asked = [seen[event] for event in events]
            await gateway.wait_idle()
            yield Waiting(session, request_id, socket, api, ActionClient(transport, api, socket, session)), asked

    return begin


def expire_waits(session: str) -> None:
    """Makes everything that the session waits for overdue."""
    stream_id = AgentSession.objects.get(public_id=session).stream_id
    calls = ToolCall.objects.filter(stream_id=stream_id, expires_at__isnull=False)
    assert calls.update(expires_at=clock.now() - timedelta(days=1))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_approved_call_is_made_and_the_run_goes_on(wait_for: Any, transport: str, owner: Caller) -> None:
    async with wait_for(transport, "approve", "approval_required") as (run, [asked]):
        status = await run.status()
        assert (status["state"], status["run"]["status"]) == ("waiting_approval", "waiting")
        assert [one["approvalId"] for one in status["pendingApprovals"]] == [asked["approvalId"]]
        answer = await run.actions.ask(
            "approve", approvalId=asked["approvalId"], argsHash=asked["argsHash"], comment="ok"
        )
        assert answer == {"approvalId": asked["approvalId"], "status": "approved"}
        resolved = (await run.socket.event("approval_resolved"))["data"]
        assert (resolved["status"], resolved["by"], resolved["comment"]) == ("approved", owner.principal.actor, "ok")
        assert (await run.tool_end())["status"] == "ok"
        assert "demo_approval answered: Approved and done" in await run.text()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_may_be_approved_with_other_arguments(wait_for: Any, transport: str) -> None:
    async with wait_for(transport, "approve", "approval_required") as (run, [asked]):
        await run.actions.ask("approve", approvalId=asked["approvalId"], args={"action": "something milder"})
        assert "something milder" in (await run.tool_end())["result"]
        await run.end()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_rejected_call_is_not_made_and_the_model_is_told_why(wait_for: Any, transport: str) -> None:
    async with wait_for(transport, "approve", "approval_required") as (run, [asked]):
        answer = await run.actions.ask("reject", approvalId=asked["approvalId"], reason="too dear")
        assert answer == {"approvalId": asked["approvalId"], "status": "rejected"}
        assert (await run.tool_end())["status"] == "rejected"
        assert "too dear" in await run.text()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_question_is_answered_by_an_options_id(wait_for: Any, transport: str) -> None:
    async with wait_for(transport, "ask", "ask_user") as (run, [asked]):
        assert (await run.status())["state"] == "waiting_input"
        answer = await run.actions.ask("respond", ref=asked["ref"], response=asked["options"][0]["id"])
        assert answer == {"ref": asked["ref"], "status": "answered"}
        assert (await run.socket.event("question_resolved"))["data"]["response"] == "Yes"
        assert "ask_user answered: Yes" in await run.text()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        ({"result": {"found": 1}}, "ok", '{"found":1}'),
        ({"result": None}, "ok", "null"),
        ({"error": "no such thing"}, "error", "no such thing"),
    ],
)
async def test_the_client_runs_its_tool(
    wait_for: Any, transport: str, given: dict[str, Any], status: str, told: str
) -> None:
    prompt = 'use lookup {"q": "tea"}'
    async with wait_for(transport, prompt, "tool_call_requested", tools=[CLIENT_TOOL]) as (run, [asked]):
        assert (await run.status())["state"] == "waiting_tool"
        assert asked["args"] == {"q": "tea"}
        answer = await run.actions.ask("tool_result", callId=asked["callId"], **given)
        assert answer == {"callId": asked["callId"], "status": "accepted"}
        end = await run.tool_end()
        assert (end["status"], end["result"]) == (status, told)
        await run.text()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_clients_tool_that_needs_approval_is_approved_first(wait_for: Any, transport: str) -> None:
    tool = {**CLIENT_TOOL, "requiresApproval": True, "hint": "mind the step"}
    async with wait_for(transport, "use lookup", "approval_required", tools=[tool]) as (run, [asked]):
        assert asked["hint"] == "mind the step"
        early = await run.actions.ask("tool_result", callId=asked["callId"], result="early")
        assert early == {"error": "not_found"}
        await run.actions.ask("approve", approvalId=asked["approvalId"])
        requested = (await run.socket.event("tool_call_requested"))["data"]
        assert (await run.status())["state"] == "waiting_tool"
        await run.actions.ask("tool_result", callId=requested["callId"], result="done")
        assert "lookup answered: done" in await run.text()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_deciding_twice_is_answered_the_same_and_otherwise_is_a_conflict(wait_for: Any, transport: str) -> None:
    async with wait_for(transport, "approve", "approval_required") as (run, [asked]):
        known = {"approvalId": asked["approvalId"]}
        assert await run.actions.ask("approve", **known, argsHash="another") == {"error": "conflict"}
        first = await run.actions.ask("approve", **known)
        assert await run.actions.ask("approve", **known) == first
        assert await run.actions.ask("approve", **known, argsHash=asked["argsHash"]) == first
        assert await run.actions.ask("reject", **known) == {"error": "conflict"}
        assert await run.actions.ask("approve", **known, args={"action": "other"}) == {"error": "conflict"}
        assert await run.actions.ask("approve", **known, argsHash="another") == {"error": "conflict"}
        assert await run.actions.ask("approve", approvalId="apr_none") == {"error": "not_found"}
        await run.end()
        assert await run.actions.ask("approve", **known) == first


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_answering_twice_is_answered_the_same_and_otherwise_is_a_conflict(wait_for: Any, transport: str) -> None:
    prompt = "use lookup then ask"
    events = ("tool_call_requested", "ask_user")
    async with wait_for(transport, prompt, *events, tools=[CLIENT_TOOL]) as (run, [requested, asked]):
        for action, known, answer, other in (
            ("respond", {"ref": asked["ref"]}, {"response": "No"}, {"response": "Yes"}),
            ("tool_result", {"callId": requested["callId"]}, {"result": [1]}, {"error": "failed"}),
        ):
            first = await run.actions.ask(action, **known, **answer)
            assert "error" not in first
            assert await run.actions.ask(action, **known, **answer) == first
            assert await run.actions.ask(action, **known, **other) == {"error": "conflict"}
        await run.text()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_run_goes_on_only_when_the_last_call_is_settled(wait_for: Any, transport: str) -> None:
    events = ("tool_call_requested", "ask_user", "approval_required")
    prompt = "use lookup, ask and approve"
    async with wait_for(transport, prompt, *events, tools=[CLIENT_TOOL]) as (run, [requested, asked, approval]):
        status = await run.status()
        assert [len(status[name]) for name in ("pendingApprovals", "pendingQuestions", "pendingTools")] == [1, 1, 1]
        assert status["state"] == "waiting_approval"
        await run.actions.ask("reject", approvalId=approval["approvalId"])
        status = await run.status()
        assert (status["state"], status["run"]["status"]) == ("waiting_input", "waiting")
        await run.actions.ask("respond", ref=asked["ref"], response="No")
        status = await run.status()
        assert (status["state"], status["run"]["status"]) == ("waiting_tool", "waiting")
        await run.actions.ask("tool_result", callId=requested["callId"], result=7)
        text = await run.text()
        assert "lookup answered: 7" in text
        assert "ask_user answered: No" in text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_nobody_answered_in_time_is_gone_and_the_run_goes_on(wait_for: Any, transport: str) -> None:
    events = ("tool_call_requested", "ask_user", "approval_required")
    prompt = "use lookup, ask and approve"
    async with wait_for(transport, prompt, *events, tools=[CLIENT_TOOL]) as (run, [requested, asked, approval]):
        await database.run(expire_waits, run.session)
        settling = [
            ("approve", {"approvalId": approval["approvalId"]}),
            ("respond", {"ref": asked["ref"], "response": "Yes"}),
            ("tool_result", {"callId": requested["callId"], "result": 1}),
        ]
        assert [await run.actions.ask(action, **given) for action, given in settling] == [{"error": "gone"}] * 3
        await database.run(sweep)
        assert (await run.socket.event("approval_resolved"))["data"]["status"] == "expired"
        assert "demo_approval answered: Nobody approved" in await run.text()
        assert [await run.actions.ask(action, **given) for action, given in settling] == [{"error": "gone"}] * 3


async def test_a_stranger_settles_nothing(wait_for: Any, gateway: GatewayHarness, stranger: Caller) -> None:
    theirs = gateway.client(stranger)
    own = await theirs.session()
    events = ("tool_call_requested", "ask_user", "approval_required")
    prompt = "use lookup, ask and approve"
    async with wait_for("rest", prompt, *events, tools=[CLIENT_TOOL]) as (run, [requested, asked, approval]):
        for path, body in (
            ("approve", {"approvalId": approval["approvalId"]}),
            ("reject", {"approvalId": approval["approvalId"]}),
            ("respond", {"ref": asked["ref"], "response": "Yes"}),
            ("tool-results", {"callId": requested["callId"], "result": 1}),
        ):
            assert (await theirs.post(f"/v1/sessions/{run.session}/{path}", body)).error == (404, "session_not_found")
            # Nor with the ids of another's calls in a session of their own.
            assert (await theirs.post(f"/v1/sessions/{own}/{path}", body)).error == (404, "not_found")
        assert (await run.status())["run"]["status"] == "waiting"
        await run.actions.ask("abort")


async def test_deciding_needs_the_scope_where_the_tenant_says_so(
    wait_for: Any, server: LiveServer, tenant: Tenant, settings: Any
) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0
    await database.run(lambda: Tenant.objects.filter(pk=tenant.pk).update(settings={"approvals_in_sessions": False}))
    reader = await database.run(caller, tenant, [SESSIONS])
    async with wait_for("rest", "approve", "approval_required") as (run, [asked]):
        async with server.socket(run.session, reader) as socket:
            assert (await socket.ask("approve", approvalId=asked["approvalId"]))["error"] == "forbidden"
            assert (await socket.ask("reject", approvalId=asked["approvalId"]))["error"] == "forbidden"
        await run.actions.ask("approve", approvalId=asked["approvalId"])
        await run.text()


async def test_of_two_opposite_decisions_at_once_exactly_one_wins(
    wait_for: Any, server: LiveServer, owner: Caller
) -> None:
    for _ in range(10):
        async with wait_for("rest", "approve", "approval_required") as (run, [asked]):
            known = {"approvalId": asked["approvalId"]}
            by_rest, by_socket = await asyncio.gather(
                run.actions.ask("reject", **known), run.socket.ask("approve", **known)
            )
            rejected, approved = by_rest.get("status") == "rejected", by_socket.get("status") == "approved"
            assert rejected != approved
            assert (by_socket if rejected else by_rest)["error"] == "conflict"
            resolved = (await run.socket.event("approval_resolved"))["data"]
            assert resolved["status"] == ("rejected" if rejected else "approved")
            await run.text()
        seen = [frame["event"] for frame in run.socket.frames if "event" in frame]
        assert (seen.count("approval_resolved"), seen.count("tool_execution_end")) == (1, 1)


async def test_of_two_equal_decisions_at_once_both_are_answered_the_same(wait_for: Any) -> None:
    async with wait_for("rest", "approve", "approval_required") as (run, [asked]):
        known = {"approvalId": asked["approvalId"]}
        by_rest, by_socket = await asyncio.gather(
            run.actions.ask("approve", **known), run.socket.ask("approve", **known)
        )
        assert by_socket.pop("ok")
        assert by_socket.pop("action") == "approve"
        assert by_rest == by_socket == {**known, "status": "approved"}
        await run.text()
        seen = [frame["event"] for frame in run.socket.frames if "event" in frame]
        assert seen.count("approval_resolved") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_interrupting_prompt_ends_a_waiting_run_and_its_calls(wait_for: Any, transport: str) -> None:
    async with wait_for(transport, "approve and ask", "ask_user", "approval_required") as (run, [asked, approval]):
        second = await run.actions.ask("prompt", text="something else", whenBusy="interrupt")
        end = await run.end()
        assert (end["event"], end["data"]["reason"]) == ("agent_abort", "aborted")
        assert (await run.socket.run_end(second["requestId"]))["event"] == "agent_end"
        before = [
            frame for frame in run.socket.frames if frame.get("event") in ("approval_resolved", "question_resolved")
        ]
        assert {frame["data"]["status"] for frame in before} == {"cancelled", "rejected"}
        assert await run.actions.ask("approve", approvalId=approval["approvalId"]) == {"error": "conflict"}
        assert await run.actions.ask("respond", ref=asked["ref"], response="Yes") == {"error": "gone"}
        status = await run.status()
        assert (status["state"], status["pendingApprovals"], status["pendingQuestions"]) == ("idle", [], [])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", ["steer", "prompt"])
async def test_steering_a_waiting_run_goes_into_its_next_leg(wait_for: Any, transport: str, way: str) -> None:
    async with wait_for(transport, "approve", "approval_required") as (run, [asked]):
        fields = {"text": "and be brief"} | ({"whenBusy": "steer"} if way == "prompt" else {})
        assert (await run.actions.ask(way, **fields))["requestId"] == run.request_id
        assert (await run.status())["run"]["status"] == "waiting"
        await run.actions.ask("approve", approvalId=asked["approvalId"])
        assert (await run.socket.event("steering"))["data"]["text"] == "and be brief"
        await run.text()
        messages = (await run.client.get(f"/v1/sessions/{run.session}/messages")).json["messages"]
        assert [message["content"] for message in messages if message["role"] == "user"] == ["approve", "and be brief"]


async def test_a_waiting_run_takes_the_model_that_the_session_was_switched_to(wait_for: Any) -> None:
    async with wait_for("rest", "ask", "ask_user") as (run, [asked]):
        answer = await run.client.post(f"/v1/sessions/{run.session}/switch_model", {"model": "demo:echo"})
        assert (answer.status, answer.json["model"]) == (202, "demo:echo")
        switched = (await run.socket.event("model_switched"))["data"]
        assert (switched["model"], switched["previous"]) == ("demo:echo", "demo:tour")
        await run.actions.ask("respond", ref=asked["ref"], response="Yes")
        assert await run.text() == "ask"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_waiting_run_survives_a_restart(
    wait_for: Any, transport: str, server: LiveServer, owner: Caller, gateway: GatewayHarness
) -> None:
    events = ("tool_call_requested", "ask_user", "approval_required")
    prompt = "use lookup, ask and approve"
    async with wait_for(transport, prompt, *events, tools=[CLIENT_TOOL]) as (run, [requested, asked, approval]):
        await run.actions.ask("respond", ref=asked["ref"], response="No")
        await gateway.restart()
        assert await run.socket.close_code() == 4000
        seen = max(frame["id"] for frame in run.socket.frames if "event" in frame)
        async with server.socket(run.session, owner, since=seen) as socket:
            actions = ActionClient(transport, run.client, socket, run.session)
            assert (await run.status())["run"]["status"] == "waiting"
            await actions.ask("tool_result", callId=requested["callId"], result="late")
            await actions.ask("approve", approvalId=approval["approvalId"])
            end = await socket.run_end(run.request_id)
        text = end["data"]["lastMessage"]["content"]
        assert "lookup answered: late" in text
        assert "ask_user answered: No" in text
