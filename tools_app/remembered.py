"""Remembered approvals: decisions that stand for the later calls of a tool in one session.

A decision is remembered with the mark of the tool that the approver saw. A tool that has been replaced since, by a
registration or by its MCP server, has another mark, and its calls ask again. A rule of the operator is not lowered:
neither `always` in the section `tools` of the configuration, nor the `always` of an MCP server. The decision is stored
with its call and goes with it (retention, erasure); a fork of the session has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Max, QuerySet

from core_app.database import database_moment, write_transaction
from core_app.errors import NotFound
from core_app.ids import new_id
from core_app.jsontext import clean_text
from events_app import log
from events_app.lease import Fence
from tenants_app.services.audit import audit_record
from tools_app import operator_rules
from tools_app.events import ApprovalResolved
from tools_app.fingerprint import fingerprint
from tools_app.models import ToolCall
from tools_app.states import ApprovalState, CallKind
from tools_app.targets import Target

REMEMBERED = "remembered"
"""The `by` of approvals that nobody was asked for."""


def compute_mark(target: Target) -> str | None:
    """Returns the mark of a tool: all that an approver could know of it, and where its calls go. None for a tool whose
    every call needs a decision of its own."""
    if operator_rules.approval_rule(target.name) == "always":
        return None
    registered, builtin = target.registered, target.builtin
    if target.kind is CallKind.MCP and builtin is not None and builtin.requires_approval:
        return None
    about = registered.description if registered else builtin.description if builtin else ""
    address = registered.callback_url if registered else None
    return fingerprint([str(target.kind), target.name, about, target.parameters, address])


def is_remembered(call: ToolCall, target: Target) -> bool:
    """True when an earlier decision stands for this call."""
    mark = compute_mark(target)
    return mark is not None and _remembered(call.stream_id).filter(tool_name=call.tool_name, target_mark=mark).exists()


def approve_remembered(call: ToolCall, target: Target, *, fence: Fence) -> None:
    """Approves a planned call by an earlier decision: `approval_resolved` with `by: "remembered"`, and an audit entry.
    The caller has locked the stream, and goes on with the call."""
    fields: dict[str, Any] = {
        "kind": target.kind,
        "approval_id": new_id("apr"),
        "approval_state": ApprovalState.APPROVED,
        "approval_hint": target.hint,
        "requested_at": database_moment(),
        "decided_by": REMEMBERED,
    }
    ToolCall.objects.filter(pk=call.pk).update(**fields)
    for name, value in fields.items():
        setattr(call, name, value)
    resolved = ApprovalResolved(approval_id=fields["approval_id"], status="approved", by=REMEMBERED, comment=None)
    log.append(call.stream_id, [resolved], run_id=call.run_id, fence=fence)
    detail = {"tool": call.tool_name, "run": call.run_id, "changed": False}
    audit_record(actor=REMEMBERED, action="approval.approve", target=call.id, detail=detail, tenant_id=call.tenant_id)


def remembered_list(stream_id: int) -> list[Mapping[str, Any]]:
    """Returns `{"toolName", "by"}` of each tool with a remembered approval; `by` decided last."""
    rows = _remembered(stream_id).order_by("tool_name", "requested_at").values_list("tool_name", "decided_by")
    return [{"toolName": name, "by": by} for name, by in dict(rows).items()]


def approvals_forget(*, stream_id: int, tool_name: str, by: str) -> None:
    """Forgets what was remembered of a tool, so that its next call asks again. Raises NotFound when there is nothing.

    The caller has locked the stream, so that no call is approved meanwhile.
    """
    found = _remembered(stream_id).filter(tool_name=clean_text(tool_name))
    tenant_id = found.aggregate(found=Max("tenant_id"))["found"]
    if tenant_id is None or not found.update(remembered=False):
        raise NotFound("The session remembers no approval of that tool.", field="toolName")
    with write_transaction():
        audit_record(actor=by, action="approval.forget", target=tool_name, tenant_id=tenant_id)


def _remembered(stream_id: int) -> QuerySet[ToolCall]:
    return ToolCall.objects.filter(stream_id=stream_id, remembered=True)
