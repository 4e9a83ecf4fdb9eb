"""Trying a tool without a model: `POST …/tools/:name/test`.

The call is made as in a run, with an id of its own, but leaves no row and no event. It is a human's act, so no
approval is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core_app.database import run
from core_app.errors import BadRequest, Conflict, NotFound
from core_app.ids import new_id
from tenants_app.models import Tenant
from tools_app.execution import execute
from tools_app.executors.work import CallWork
from tools_app.models import ToolCall
from tools_app.states import CallKind
from tools_app.targets import target_of
from tools_app.types import CallContext, Later


async def tool_test(*, stream_id: int, name: str, args: Mapping[str, Any], context: CallContext) -> dict[str, Any]:
    """`{"status", "result", "durationMs"}`; `accepted` for a callback that answered 202, whose late result is not
    taken. NotFound for an unknown tool, BadRequest of field `args`, Conflict for what only a run can do."""
    work = await run(_work, stream_id, name, args, context)
    start = time.monotonic()
    outcome = await execute(work)
    duration = round((time.monotonic() - start) * 1000)
    if isinstance(outcome, Later):
        return {
            "status": "accepted",
            "result": "The tool answered 202; a result would come later.",
            "durationMs": duration,
        }
    return {"status": outcome.status, "result": outcome.content, "durationMs": duration}


def _work(stream_id: int, name: str, args: Mapping[str, Any], context: CallContext) -> CallWork:
    target = target_of(ToolCall(stream_id=stream_id, tool_name=name), context.builtins)
    if target is None:
        raise NotFound("The session has no tool of that name.", field="name")
    if target.kind is CallKind.CLIENT or target.is_question:
        raise Conflict("Only a run can do this: the tool is the connected client's, or a question.", field="name")
    if violation := target.violation(dict(args)):
        raise BadRequest(f"args: {violation}", field="args")
    tenant = Tenant.objects.get(pk=context.tenant_id)
    return CallWork(new_id("test"), dict(args), target, tenant, replace(context, allow_private=tenant.allow_private))
