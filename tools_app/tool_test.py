"""A test call of a tool without a model: `POST …/tools/:name/test`.

The call is executed as in a run, with an id of its own, and leaves no row. The person who makes it decides on it, so
for a tool whose calls need an approval they need what an approval needs. An audit entry and the event `tool_tested` are
committed before the call is made: no call goes out that nobody can find again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core_app.database import run_action, write_transaction
from core_app.errors import BadRequest, Conflict, NotFound
from core_app.ids import new_id
from core_app.shares import Claim
from events_app import log
from tenants_app.models import Tenant
from tenants_app.principal import APPROVALS, Principal
from tenants_app.services import audit_record
from tools_app.events import ToolTested
from tools_app.execution import execute
from tools_app.executors import builtin
from tools_app.executors.base import Execution
from tools_app.fingerprint import fingerprint
from tools_app.models import ToolCall
from tools_app.states import CallKind
from tools_app.targets import needs_approval, target_of
from tools_app.types import CallContext, Later


async def tool_test(
    *, stream_id: int, name: str, args: Mapping[str, Any], context: CallContext, by: Principal
) -> dict[str, Any]:
    """Returns `{"status", "result", "durationMs"}`. The status is `accepted` for a callback that responded 202; its
    late result is refused. Raises NotFound for an unknown tool, BadRequest for the field `args`, Conflict for a tool
    that only a run can call, and Forbidden without the scope `approvals` where a call needs an approval."""
    await builtin.prepare(context.builtins, context.tenant_id)
    claim = Claim(context.tenant_id, context.session_id)
    execution = await run_action(claim, _begin, stream_id, name, args, context, by)
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


def _begin(stream_id: int, name: str, args: Mapping[str, Any], context: CallContext, by: Principal) -> Execution:
    """Checks the call and records it."""
    target = target_of(ToolCall(tenant_id=context.tenant_id, stream_id=stream_id, tool_name=name), context.builtins)
    if target is None:
        raise NotFound("The session has no tool of that name.", field="name")
    if target.kind is CallKind.CLIENT or target.is_question:
        raise Conflict("Only a run can do this: the tool is the connected client's, or a question.", field="name")
    if needs_approval(target, context.approvals):
        by.require(APPROVALS)
    if violation := target.violation(dict(args)):
        raise BadRequest(f"args: {violation}", field="args")
    tenant = Tenant.objects.get(pk=context.tenant_id)
    call_id = new_id("test")
    with write_transaction():
        log.lock(stream_id)
        log.append(stream_id, [ToolTested(call_id=call_id, tool_name=target.name, args=dict(args), by=by.actor)])
        audit_record(
            actor=by.actor,
            action="tool.test",
            target=call_id,
            tenant_id=tenant.pk,
            detail={"session": context.session_id, "tool": target.name, "args_hash": fingerprint(dict(args))},
        )
    return Execution(call_id, dict(args), target, tenant, replace(context, allow_private=tenant.allow_private))
