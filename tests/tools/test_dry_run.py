"""A tool tried without a model."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.database import run
from core_app.errors import BadRequest, Conflict, NotFound
from tests.tools.conftest import CallbackServer, Session
from tools_app.models import ToolCall
from tools_app.tool_test import tool_test

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_allowed", "guarded")]


async def tried(session: Session, name: str, args: dict[str, Any]) -> dict[str, Any]:
    return await tool_test(stream_id=session.stream_id, name=name, args=args, context=session.context())


async def test_a_tried_callback_is_called_and_leaves_nothing(session: Session, server: CallbackServer) -> None:
    await run(session.attach, callbackUrl=server.url, requiresApproval=True)
    answer = await tried(session, "lookup", {"a": 1})
    assert (answer["status"], answer["result"]) == ("ok", "done")
    assert isinstance(answer["durationMs"], int)
    assert server.received[0].json["args"] == {"a": 1}
    assert await run(ToolCall.objects.count) == 0
    assert await run(session.types) == ["tool_attached"]
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
