"""A test call of a tool without a model: `POST …/tools/:name/test`.

The call is executed as in a run, with an id of its own, and leaves no row and no event. A person makes it, so it needs
no approval.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core_app.database import run_action
from core_app.errors import BadRequest, Conflict, NotFound
from core_app.ids import new_id
from core_app.shares import Claim
from tenants_app.models import Tenant
from tools_app.execution import execute
from tools_app.executors.base import Execution
from tools_app.models import ToolCall
from tools_app.states import CallKind
from tools_app.targets import target_of
from tools_app.types import CallContext, Later


async def tool_test(*, stream_id: int, name: str, args: Mapping[str, Any], context: CallContext) -> dict[str, Any]:
    """Returns `{"status", "result", "durationMs"}`. The status is `accepted` for a callback that responded 202; its
    late result is refused. Raises NotFound for an unknown tool, BadRequest for the field `args`, and Conflict for a
    tool that only a run can call."""
    execution = await run_action(
        Claim(context.tenant_id, context.session_id), _make_execution, stream_id, name, args, context
    )
    start = time.monotonic()
    outcome = await execute(execution)
    duration = round((time.monotonic() - start) * 1000)
    if isinstance(outcome, Later):
        return {
            "status": "accepted",
            "result": "The tool answered 202; a result would come later.",
            "durationMs": duration,
        }
    return {"status": outcome.status, "result": outcome.content, "durationMs": duration}


def _make_execution(stream_id: int, name: str, args: Mapping[str, Any], context: CallContext) -> Execution:
    target = target_of(ToolCall(stream_id=stream_id, tool_name=name), context.builtins)
    if target is None:
        raise NotFound("The session has no tool of that name.", field="name")
    if target.kind is CallKind.CLIENT or target.is_question:
        raise Conflict("Only a run can do this: the tool is the connected client's, or a question.", field="name")
    if violation := target.violation(dict(args)):
        raise BadRequest(f"args: {violation}", field="args")
    tenant = Tenant.objects.get(pk=context.tenant_id)
    return Execution(new_id("test"), dict(args), target, tenant, replace(context, allow_private=tenant.allow_private))
