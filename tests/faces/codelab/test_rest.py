"""REST of the later generation: agents, the conversation, pending approvals, the audit log and counts."""

from __future__ import annotations

from typing import Any

import pytest

from core_app import database
from tenants_app.principal import SESSIONS
from tenants_app.services.audit import audit_record
from tests.agents.agent_server import AgentServer
from tests.conftest import Caller, caller
from tests.faces.codelab.agents import runtime_server
from tests.faces.codelab.ide import ide
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness

__all__ = ["runtime_server"]

pytestmark = pytest.mark.django_db(transaction=True)

OF_A_SESSION = [
    "/api/v1/agents/{}/current",
    "/api/v1/sessions/{}/history",
    "/api/v1/sessions/{}/pending-approvals",
    "/api/v1/events/audit-log?session_id={}",
]


async def read(client: Client, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status == 200, answer.body
    return answer.json


async def test_agents_are_those_that_a_switch_may_name(api: Client, runtime_server: AgentServer) -> None:
    assert await read(api, "/api/v1/agents") == {
        "agents": [
            {
                "type": "runtime",
                "name": "Runtime",
                "description": "Elsewhere",
                "allowed_tools": [],
                "has_file_restrictions": False,
            },
            {
                "type": "echo",
                "name": "echo",
                "description": "",
                "allowed_tools": ["ask_user"],
                "has_file_restrictions": False,
            },
        ],
        "total": 2,
    }


async def test_the_runtime_of_the_settings_is_an_agent(api: Client, settings: Any) -> None:
    before = (await read(api, "/api/v1/agents"))["total"]
    settings.GATEWAY_AGENT_URL = "http://127.0.0.1:9"
    shown = await read(api, "/api/v1/agents")
    assert shown["total"] == before + 1
    assert shown["agents"][-1]["type"] == "remote"


async def test_the_current_agent_is_that_of_the_newest_switch(
    server: LiveServer, owner: Caller, api: Client, runtime_server: AgentServer
) -> None:
    session = await api.session(model=None, agent="runtime")
    path = f"/api/v1/agents/{session}/current"
    none = {"session_id": session, "current_agent": "runtime", "agent_history": [], "switch_count": 0}
    assert await read(api, path) == none
    async with ide(server.port, session, owner.secret) as client:
        await client.send("user_message", content="switch")
        await client.answer()
        assert (await read(api, path))["current_agent"] == "coder"
        await client.send("switch_agent", agent_type="echo", reason="cheaper", message_id=1)
        await client.frame("ack")
    shown = await read(api, path)
    assert (shown["current_agent"], shown["switch_count"]) == ("echo", 2)
    assert [switch.pop("at")[-1] for switch in shown["agent_history"]] == ["Z", "Z"]
    assert shown["agent_history"] == [
        {"from_agent": "orchestrator", "to_agent": "coder", "reason": "code"},
        {"from_agent": "coder", "to_agent": "echo", "reason": "cheaper"},
    ]


async def test_the_history_is_the_conversation_as_a_model_has_it(
    server: LiveServer, owner: Caller, api: Client, runtime_server: AgentServer
) -> None:
    session = await api.session(model=None, agent="runtime")
    async with ide(server.port, session, owner.secret) as client:
        await client.send("user_message", content="read")
        call = await client.frame("tool_call")
        await client.send("tool_result", call_id=call["call_id"], result="42")
        await client.answer()
    shown = await read(api, f"/api/v1/sessions/{session}/history")
    messages = shown.pop("messages")
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert [message["content"] for message in messages] == ["read", "one moment ", "42", "tool: 42"]
    assert messages[2]["tool_call_id"] == call["call_id"]
    assert messages[1]["tool_calls"]
    assert shown.pop("last_activity")[-1] == "Z"
    assert shown == {
        "session_id": session,
        "message_count": 4,
        "current_agent": "runtime",
        "agent_history": [],
    }
    newest = await read(api, f"/api/v1/sessions/{session}/history?limit=1")
    assert [message["content"] for message in newest["messages"]] == ["tool: 42"]


async def test_pending_approvals_are_what_the_ide_has_to_decide(
    server: LiveServer, owner: Caller, api: Client, runtime_server: AgentServer
) -> None:
    session = await api.session(model=None, agent="runtime")
    path = f"/api/v1/sessions/{session}/pending-approvals"
    assert await read(api, path) == {"session_id": session, "pending_approvals": [], "count": 0}
    async with ide(server.port, session, owner.secret) as client:
        await client.send("user_message", content="write")
        call = await client.frame("tool_call")
        shown = await read(api, path)
        assert (shown["session_id"], shown["count"]) == (session, 1)
        (approval,) = shown["pending_approvals"]
        assert approval.pop("request_id").startswith("apr_")
        assert approval.pop("created_at")[-1] == "Z"
        assert "asks for a decision" in approval.pop("reason")
        assert approval == {
            "request_type": "tool",
            "subject": "write_file",
            "details": {"arguments": {"x": 1}},
            "call_id": call["call_id"],
            "tool_name": "write_file",
            "arguments": {"x": 1},
        }
        await client.send("hitl_decision", call_id=call["call_id"], decision="reject")
        await client.answer()
    assert (await read(api, path))["count"] == 0


@pytest.fixture
async def eventful(server: LiveServer, owner: Caller, api: Client, runtime_server: AgentServer, settings: Any) -> str:
    """A session with a switch, decisions, a failed tool and a failed turn, and a call of a runtime that failed."""
    session = await api.session(model=None, agent="runtime")
    decisions: list[dict[str, Any]] = [
        {"decision": "edit", "modified_arguments": {"x": 2}},
        {"decision": "reject", "feedback": "no"},
    ]
    async with ide(server.port, session, owner.secret) as client:
        for decision in decisions:
            await client.send("user_message", content="write")
            call = await client.frame("tool_call")
            await client.send("hitl_decision", call_id=call["call_id"], **decision)
            if decision["decision"] == "edit":
                await client.send("tool_result", call_id=call["call_id"], error="disk full")
            await client.answer()
        await client.send("user_message", content="fail")
        await client.answer()
        body = {"call_id": "call_0", "tool_name": "read_file", "timeout_seconds": 0.05}
        key = settings.GATEWAY_INTERNAL_API_KEY[0].partition(":")[0]
        await api.post(f"/tool/execute/{session}", body, headers={"X-Internal-Auth": key})
        await client.send("switch_agent", agent_type="echo", message_id=1)
        await client.frame("ack")
    return session


async def test_the_audit_log_of_a_session_has_what_was_decided_switched_and_failed(api: Client, eventful: str) -> None:
    path = f"/api/v1/events/audit-log?session_id={eventful}"
    shown = await read(api, path)
    entries = shown["audit_log"]
    assert shown["count"] == len(entries) == 8
    assert shown["filters"] == {"session_id": eventful, "event_type": None, "limit": 100}
    assert {entry["session_id"] for entry in entries} == {eventful}
    assert len({entry["event_id"] for entry in entries}) == len(entries)
    times = [entry["timestamp"] for entry in entries]
    assert times == sorted(times)
    by_type: dict[str, list[Any]] = {}
    for entry in entries:
        by_type.setdefault(entry["event_type"], []).append(entry)
    assert [entry["tool_name"] for entry in by_type["tool_approval_required"]] == ["write_file", "write_file"]
    edit, reject = by_type["hitl_decision_made"]
    assert (edit["decision"], edit["original_args"], edit["modified_args"]) == ("edit", {"x": 1}, {"x": 2})
    assert (reject["decision"], reject["feedback"], reject["modified_args"]) == ("reject", "no", None)
    failed = {entry["tool_name"]: entry for entry in by_type["tool_execution_failed"]}
    assert failed["write_file"]["error_message"] == "disk full"
    assert (failed["read_file"]["call_id"], failed["read_file"]["error_type"]) == ("call_0", "timeout")
    assert [entry["error_type"] for entry in by_type["agent_error"]] == ["upstream_error"]
    assert [entry["to_agent"] for entry in by_type["agent_switched"]] == ["echo"]
    for kind, found in by_type.items():
        assert (await read(api, f"{path}&event_type={kind}"))["audit_log"] == found
    assert (await read(api, f"{path}&limit=3"))["audit_log"] == entries[-3:]
    assert (await read(api, f"{path}&event_type=nothing"))["audit_log"] == []


async def test_counts_are_those_of_the_rows(api: Client, eventful: str) -> None:
    shown = await read(api, "/api/v1/events/metrics")
    assert shown.pop("timestamp")[-1] == "Z"
    metrics = shown["metrics"]
    agent = metrics["agent_processing"]["echo"]
    assert agent.pop("total_duration_ms") >= 0
    assert agent == {"count": 3, "success_count": 2, "failure_count": 1}
    assert metrics["errors"] == {"echo": {"upstream_error": 1}}
    assert metrics["tool_executions"] == {
        "read_file": {"requested": 1, "completed": 0, "failed": 1, "requires_approval": 0},
        "write_file": {"requested": 2, "completed": 0, "failed": 1, "requires_approval": 2},
    }
    assert metrics["hitl_decisions"] == {"write_file": {"APPROVE": 0, "EDIT": 1, "REJECT": 1}}
    assert set(shown["computed"]) == {"echo_avg_duration_ms", "read_file_success_rate", "write_file_success_rate"}
    assert shown["sessions"] == 1


async def test_counts_are_of_one_tenant(gateway: GatewayHarness, stranger: Caller, eventful: str) -> None:
    shown = await read(gateway.client(stranger), "/api/v1/events/metrics")
    assert shown["sessions"] == 0
    assert not any(shown["metrics"].values())


async def test_the_tenants_trail_needs_an_administrator(
    api: Client, gateway: GatewayHarness, owner: Caller, stranger: Caller, tenant: Any
) -> None:
    path = "/api/v1/events/audit-log"

    def record() -> None:
        for number in range(3):
            audit_record(actor="test", action=f"thing.do{number}", target="x", tenant_id=tenant.pk)

    await database.run(record)
    shown = await read(api, f"{path}?limit=2")
    assert [entry["event_type"] for entry in shown["audit_log"]] == ["thing.do1", "thing.do2"]
    assert (shown["audit_log"][0]["actor"], shown["audit_log"][0]["target"]) == ("test", "x")
    assert (await read(api, f"{path}?event_type=thing.do0"))["count"] == 1
    others = await read(gateway.client(stranger), f"{path}?event_type=thing.do0")
    assert others["count"] == 0, "the trail of one tenant"
    plain = gateway.client(await database.run(caller, tenant, [SESSIONS]))
    refused = await plain.get(path)
    assert (refused.status, refused.json["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("path", OF_A_SESSION)
async def test_another_tenants_session_is_answered_as_an_unknown_one(
    api: Client, gateway: GatewayHarness, stranger: Caller, path: str
) -> None:
    session = await api.session()
    assert (await api.get(path.format(session))).status == 200
    theirs = gateway.client(stranger)
    for name in (session, "nothing"):
        answer = await theirs.get(path.format(name))
        assert (answer.status, answer.json["code"]) == (404, "INVALID_SESSION")
        assert answer.json["detail"] == f"There is no session '{name}'."
    assert (await gateway.client(None).get(path.format(session))).status == 401


@pytest.mark.parametrize("path", ["/api/v1/sessions/{}/history", "/api/v1/events/audit-log"])
async def test_a_limit_that_is_no_number_is_refused(api: Client, path: str) -> None:
    session = await api.session()
    answer = await api.get(f"{path.format(session)}?limit=many")
    assert (answer.status, answer.json["code"]) == (400, "INVALID_FORMAT")
    assert "limit" in answer.json["detail"]
