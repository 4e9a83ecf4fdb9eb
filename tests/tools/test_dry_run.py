"""A tool tried without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core_app.database import run
from core_app.errors import BadRequest, Conflict, Forbidden, NotFound
from tenants_app.models import AuditEntry
from tenants_app.principal import APPROVALS, SESSIONS, Principal
from tests.tools.conftest import CallbackServer, Session
from tools_app.models import ToolCall
from tools_app.operator_rules import TOOLS
from tools_app.tool_test import tool_test

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_allowed", "guarded")]


async def tried(
    session: Session, name: str, args: dict[str, Any], *, by: Principal | None = None, **context: Any
) -> dict[str, Any]:
    return await tool_test(
        stream_id=session.stream_id,
        name=name,
        args=args,
        context=session.context(**context),
        by=by or person(session, APPROVALS),
    )


def person(session: Session, *scopes: str) -> Principal:
    return Principal(
        session.tenant.pk, "acme", None, "ann", frozenset((SESSIONS, *scopes)), approvals_in_sessions=False
    )


async def test_a_tried_callback_is_called_and_leaves_no_row(session: Session, server: CallbackServer) -> None:
    await run(session.attach, callbackUrl=server.url, requiresApproval=True)
    answer = await tried(session, "lookup", {"a": 1})
    assert (answer["status"], answer["result"]) == ("ok", "done")
    assert isinstance(answer["durationMs"], int)
    assert server.received[0].json["args"] == {"a": 1}
    assert await run(ToolCall.objects.count) == 0
    assert await run(session.types) == ["tool_attached", "tool_tested"]
    server.replies = [(202, b"")]
    assert (await tried(session, "lookup", {}))["status"] == "accepted"
    server.replies = [(400, b"")]
    assert (await tried(session, "lookup", {}))["status"] == "error"


async def test_a_built_in_can_be_tried(session: Session) -> None:
    assert (await tried(session, "current_time", {}))["status"] == "ok"


async def test_what_cannot_be_tried_is_refused(session: Session, other_session: Session) -> None:
    await run(session.attach, "theirs")
    with pytest.raises(NotFound):
        await tried(session, "none", {})
    with pytest.raises(NotFound):
        await tried(other_session, "theirs", {})
    with pytest.raises(Conflict):
        await tried(session, "theirs", {})
    with pytest.raises(Conflict):
        await tried(session, "ask_user", {"question": "?"})
    with pytest.raises(BadRequest) as refused:
        await tried(session, "current_time", {"zone": "x"})
    assert refused.value.field == "args"


async def test_a_test_is_in_the_audit_trail_and_in_the_sessions_log_before_the_call_is_made(
    session: Session, server: CallbackServer
) -> None:
    await run(session.attach, callbackUrl=server.url)
    await tried(session, "lookup", {"a": 1})
    event = await run(session.event, "tool_tested")
    assert (event["toolName"], event["args"], event["by"]) == ("lookup", {"a": 1}, "user:ann")
    entry = await run(AuditEntry.objects.get, action="tool.test")
    assert (entry.action, entry.actor, entry.target) == ("tool.test", "user:ann", event["callId"])
    assert (entry.detail["tool"], entry.tenant_id) == ("lookup", session.tenant.pk)
    assert server.received[0].json["callId"] == event["callId"]


@pytest.mark.parametrize("name", ["lookup", "demo_approval", "current_time"])
async def test_a_test_needs_what_the_call_needs(session: Session, server: CallbackServer, name: str) -> None:
    """A flag of the tool, one of a built-in, and the client's policy."""
    await run(session.attach, callbackUrl=server.url, requiresApproval=True)
    needs = {"builtins": ("demo_approval", "current_time"), "approvals": {"current_time": "always"}}
    args = {"action": "x"} if name == "demo_approval" else {}
    with pytest.raises(Forbidden, match="approvals"):
        await tried(session, name, args, by=person(session), **needs)
    assert server.received == []
    assert await run(session.types) == ["tool_attached"]
    assert not await run(AuditEntry.objects.filter(action="tool.test").exists)
    assert (await tried(session, name, args, by=person(session, APPROVALS), **needs))["status"] == "ok"


async def test_an_operators_rule_holds_for_tests(session: Session, settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("tools: {approvals: {current_time: always}}\n", encoding="utf-8")
    settings.GATEWAY_CONFIG = path
    TOOLS.forget()
    with pytest.raises(Forbidden):
        await tried(session, "current_time", {}, by=person(session))


async def test_what_cannot_be_tried_is_not_recorded(session: Session) -> None:
    with pytest.raises(BadRequest):
        await tried(session, "current_time", {"zone": "x"})
    assert await run(session.types) == []
