"""What outsiders say: approvals, answers, results of tools that clients run, late results of callbacks.

Each in the caller's transaction (its first statement locks the stream), under the contract's rules of
"Deciding twice": the same again is answered the same, anything else is a Conflict, too late is Gone, and what
the session does not have is NotFound. What an outsider decided is told to the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, Gone, NotFound
from events_app import log
from tenants_app.services.audit import audit_record
from tools_app.events import ApprovalResolved, QuestionResolved
from tools_app.fingerprint import fingerprint
from tools_app.models import ToolCall
from tools_app.result_body import outcome_of
from tools_app.signing import token_hash
from tools_app.states import ApprovalState, CallKind, CallState
from tools_app.targets import target_of
from tools_app.transitions import database_moment, move, settle
from tools_app.types import OnSettled, Placed
from tools_app.waits import open_wait

MAX_RESPONSE_CHARACTERS = 64 * 1024
MAX_COMMENT_CHARACTERS = 8_000


def approval_decide(
    *,
    stream_id: int,
    approval_id: str,
    approve: bool,
    by: str,
    args_hash: str | None = None,
    args: Mapping[str, Any] | None = None,
    comment: str | None = None,
    on_settled: OnSettled,
) -> dict[str, Any]:
    """Approves (with changed `args`, if any) or rejects; the wire answer of `approve` and `reject`.

    An approved client's tool is requested at once. A rejected call is settled; `comment` is told to the model.
    """
    comment = _comment_checked(comment)
    with write_transaction():
        log.lock(stream_id)
        call = ToolCall.objects.filter(stream_id=stream_id, approval_id=_sought(approval_id)).first()
        if call is None:
            raise NotFound("The session has no approval of that id.", field="approvalId")
        if args_hash is not None and args_hash != call.args_hash:
            raise Conflict("argsHash is not that of the call: other arguments were shown.", field="argsHash")
        if call.approval_state != ApprovalState.PENDING:
            return _decided_before(call, approve, args)
        _refuse_late(call, "The approval has expired.", "approvalId")
        if approve:
            _approve(call, by, comment, args)
        else:
            _reject(call, by, comment, on_settled)
        _audit(call, by)
        return _decision(call)


def question_answer(*, stream_id: int, ref: str, response: Any, by: str, on_settled: OnSettled) -> dict[str, Any]:
    """Answers a question; an option's id stands for its label. The wire answer of `respond`."""
    if not isinstance(response, str) or not response.strip() or len(response) > MAX_RESPONSE_CHARACTERS:
        raise BadRequest(f"response must be text of 1 to {MAX_RESPONSE_CHARACTERS} characters.", field="response")
    answer = {"ref": ref, "status": "answered"}
    with write_transaction():
        log.lock(stream_id)
        call = ToolCall.objects.filter(stream_id=stream_id, ref=_sought(ref)).first()
        if call is None:
            raise NotFound("The session has no question of that ref.", field="ref")
        told, mark = _chosen(call, jsontext.clean_text(response)), fingerprint(response)
        if call.state == CallState.SETTLED:
            _refuse_another(call, mark, "question", "ref")
            return answer
        _refuse_late(call, "The question has expired.", "ref")
        resolved = QuestionResolved(ref=ref, status="answered", response=told)
        settle(
            call,
            status="ok",
            content=told,
            on_settled=on_settled,
            before=[resolved],
            answer_hash=mark,
            decided_by=by[:200],
        )
    return answer


def client_result(
    *, stream_id: int, call_id: str, result: Any = None, error: str | None = None, on_settled: OnSettled
) -> dict[str, Any]:
    """What the connected client says of a tool that it ran; `error` not None means that it failed."""
    status, content = outcome_of({"result": result} if error is None else {"error": error})
    answer = {"callId": call_id, "status": "accepted"}
    with write_transaction():
        log.lock(stream_id)
        call = ToolCall.objects.filter(stream_id=stream_id, pk=_sought(call_id), kind="client").first()
        if call is None or call.state == CallState.AWAITING_APPROVAL or call.started_at is None:
            raise NotFound("The session has not requested a call of that id.", field="callId")
        mark = fingerprint([status, content])
        if call.state == CallState.SETTLED:
            _refuse_another(call, mark, "call", "callId")
            return answer
        _refuse_late(call, "The call's time is over.", "callId")
        settle(call, status=status, content=content, on_settled=on_settled, answer_hash=mark)
    return answer


def callback_result(*, token: str, body: Any, on_settled: OnSettled) -> Placed:
    """The late result of a callback that answered 202, posted to its `resultUrl` (whose last part is `token`).

    It may come before that answer itself. Opens a transaction of its own when there is none.
    """
    status, content = outcome_of(body)
    found = ToolCall.objects.filter(token_hash=token_hash(token)).first()
    if found is None:
        raise NotFound("No call waits for a result at this address.")
    placed = Placed(found.stream_id, found.run_id, {"callId": found.id, "status": "accepted"})
    with write_transaction():
        log.lock(found.stream_id)
        call = ToolCall.objects.get(pk=found.pk)
        mark = fingerprint([status, content])
        if call.state == CallState.SETTLED:
            _refuse_another(call, mark, "call", None)
            return placed
        if call.state == CallState.ACCEPTED:
            _refuse_late(call, "The address has expired.", None)
        settle(call, status=status, content=content, on_settled=on_settled, answer_hash=mark)
    return placed


def _sought(identifier: Any) -> str:
    """What to look for: an id may be anything that a client sent, and no database takes all of that."""
    return jsontext.clean_text(identifier) if isinstance(identifier, str) else ""


def _approve(call: ToolCall, by: str, comment: str | None, args: Mapping[str, Any] | None) -> None:
    # An MCP server is not asked while the stream is locked: its tool's arguments are checked before the call.
    target = None if call.kind == CallKind.MCP else target_of(call)
    changed = None
    if args is not None:
        if target is not None and (violation := target.violation(dict(args))):
            raise BadRequest(f"args: {violation}", field="args")
        changed = jsontext.encode_text(dict(args)) if fingerprint(args) != call.args_hash else None
    call.decided_args = changed
    fields: dict[str, Any] = {
        "approval_state": ApprovalState.APPROVED,
        "decided_by": by[:200],
        "comment": comment,
        "decided_args": changed,
    }
    assert call.approval_id is not None
    resolved = ApprovalResolved(approval_id=call.approval_id, status="approved", by=by, comment=comment)
    seconds = settings.GATEWAY_APPROVAL_TIMEOUT_SECONDS
    if target is not None and open_wait(call, target, seconds=seconds, before=[resolved], **fields):
        return
    move(call, CallState.APPROVED, expires_at=None, **fields)
    log.append(call.stream_id, [resolved], run_id=call.run_id)


def _reject(call: ToolCall, by: str, comment: str | None, on_settled: OnSettled) -> None:
    assert call.approval_id is not None
    settle(
        call,
        status="rejected",
        content=f"The user rejected this call: {comment}" if comment else "The user rejected this call.",
        on_settled=on_settled,
        before=[ApprovalResolved(approval_id=call.approval_id, status="rejected", by=by, comment=comment)],
        approval_state=ApprovalState.REJECTED,
        decided_by=by[:200],
        comment=comment,
    )


def _audit(call: ToolCall, by: str) -> None:
    detail = {"tool": call.tool_name, "run": call.run_id, "changed": call.decided_args is not None}
    action = "approval.approve" if call.approval_state == ApprovalState.APPROVED else "approval.reject"
    audit_record(actor=by, action=action, target=call.id, detail=detail, tenant_id=call.tenant_id)


def _decided_before(call: ToolCall, approve: bool, args: Mapping[str, Any] | None) -> dict[str, Any]:
    if call.approval_state == ApprovalState.EXPIRED:
        raise Gone("The approval has expired.", field="approvalId")
    if approve != (call.approval_state == ApprovalState.APPROVED):
        raise Conflict(f"The call was already {call.approval_state}.", field="approvalId")
    same = call.args_hash if args is None else fingerprint(args)
    if approve and same != fingerprint(call.effective_args):
        raise Conflict("The call was approved with other arguments.", field="args")
    return _decision(call)


def _decision(call: ToolCall) -> dict[str, Any]:
    return {"approvalId": call.approval_id, "status": str(call.approval_state)}


def _comment_checked(comment: Any) -> str | None:
    if comment is None:
        return None
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT_CHARACTERS:
        raise BadRequest(f"The comment must be text of at most {MAX_COMMENT_CHARACTERS} characters.", field="comment")
    return jsontext.clean_text(comment)


def _refuse_late(call: ToolCall, message: str, field: str | None) -> None:
    # The sweep settles it within seconds; until then it is as expired as after.
    if call.expires_at is not None and call.expires_at <= database_moment():
        raise Gone(message, field=field)


def _refuse_another(call: ToolCall, mark: str, noun: str, field: str | None) -> None:
    if call.answer_hash is None:
        raise Gone(f"The {noun} has expired or was cancelled.", field=field)
    if call.answer_hash != mark:
        raise Conflict(f"The {noun} was already answered otherwise.", field=field)


def _chosen(call: ToolCall, response: str) -> str:
    options = jsontext.decode(call.options or "[]")
    return next((option["label"] for option in options if option["id"] == response), response)
