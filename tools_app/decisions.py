"""Decisions from outside: approvals, answers, results of client tools, late results of callbacks.

Each function runs in one transaction whose first statement locks the stream. Repeating a decision gives the same
response, a different decision raises Conflict, one after the expiry raises Gone, and an unknown id raises NotFound
(docs/protocol-native.md, "Tools, approvals, questions"). The model reads the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from django.conf import settings

from core_app import jsontext
from core_app.database import database_moment, write_transaction
from core_app.errors import BadRequest, Conflict, Gone, NotFound
from events_app import log
from tenants_app.services.audit import audit_record
from tools_app.events import ApprovalResolved, QuestionResolved
from tools_app.fingerprint import fingerprint
from tools_app.models import OUTSIDE_PREFIX, ToolCall
from tools_app.result_body import parse_result_body
from tools_app.signing import token_hash
from tools_app.states import ApprovalState, CallKind, CallState
from tools_app.targets import target_of
from tools_app.transitions import move, settle
from tools_app.types import PERMITTED, OnSettled, Placed
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
    remember: bool = False,
    on_settled: OnSettled,
) -> dict[str, Any]:
    """Approves a call (with changed `args`, if given) or rejects it; returns the response body of `approve` and
    `reject`. With `remember` the approval stands for later calls of the tool in this session, and the body has
    `remembered`: false where a rule of the operator demands a decision about each call.

    An approved client tool is requested at once, and an agent's own call is settled,
    because the agent makes it. A rejected call is settled, and the model reads `comment`.
    """
    comment = _check_comment(comment)
    with write_transaction():
        log.lock(stream_id)
        call = ToolCall.objects.filter(stream_id=stream_id, approval_id=_searchable(approval_id)).first()
        if call is None:
            raise NotFound("The session has no approval of that id.", field="approvalId")
        if args_hash is not None and args_hash != call.args_hash:
            raise Conflict("argsHash is not that of the call: other arguments were shown.", field="argsHash")
        if call.approval_state != ApprovalState.PENDING:
            decision = _repeat_decision(call, approve, args)
            return decision | _remember(call) if remember and approve else decision
        _refuse_late(call, "The approval has expired.", "approvalId")
        if approve:
            _approve(call, by, comment, args, on_settled)
        else:
            _reject(call, by, comment, on_settled)
        kept = _remember(call) if remember and approve else {}
        _audit(call, by)
        return _decision(call) | kept


def question_answer(*, stream_id: int, ref: str, response: Any, by: str, on_settled: OnSettled) -> dict[str, Any]:
    """Answers a question; an option's id stands for its label. Returns the response body of `respond`."""
    if not isinstance(response, str) or not response.strip() or len(response) > MAX_RESPONSE_CHARACTERS:
        raise BadRequest(f"response must be text of 1 to {MAX_RESPONSE_CHARACTERS} characters.", field="response")
    answer = {"ref": ref, "status": "answered"}
    with write_transaction():
        log.lock(stream_id)
        call = ToolCall.objects.filter(stream_id=stream_id, ref=_searchable(ref)).first()
        if call is None:
            raise NotFound("The session has no question of that ref.", field="ref")
        answer_text, mark = _option_label(call, jsontext.clean_text(response)), fingerprint(response)
        if call.state == CallState.SETTLED:
            _refuse_another(call, mark, "question", "ref")
            return answer
        _refuse_late(call, "The question has expired.", "ref")
        resolved = QuestionResolved(ref=ref, status="answered", response=answer_text)
        settle(
            call,
            status="ok",
            content=answer_text,
            on_settled=on_settled,
            before=[resolved],
            answer_hash=mark,
            decided_by=by[:200],
        )
    return answer


def client_result(
    *, stream_id: int, call_id: str, result: Any = None, error: Any = None, on_settled: OnSettled
) -> dict[str, Any]:
    """Stores the result of a tool that the connected client ran; a given `error` means that the tool failed."""
    status, content = _client_outcome(call_id, result, error)
    answer = {"callId": call_id, "status": "accepted"}
    with write_transaction():
        log.lock(stream_id)
        call = ToolCall.objects.filter(stream_id=stream_id, pk=_searchable(call_id), kind="client").first()
        if call is None or call.state == CallState.AWAITING_APPROVAL or call.started_at is None:
            raise NotFound("The session has not requested a call of that id.", field="callId")
        mark = fingerprint([status, result if status == "ok" else error])
        if call.state == CallState.SETTLED:
            _refuse_another(call, mark, "call", "callId")
            return answer
        _refuse_late(call, "The call's time is over.", "callId")
        settle(call, status=status, content=content, on_settled=on_settled, answer_hash=mark)
    return answer


def callback_result(*, token: str, body: Any, on_settled: OnSettled) -> Placed:
    """Stores the late result of a callback that responded 202, posted to its `resultUrl` (`token` is the last segment).

    It may arrive before the 202. Opens a transaction of its own when there is none.
    """
    status, content = parse_result_body(body)
    found = ToolCall.objects.filter(token_hash=token_hash(token)).first()
    if found is None:
        raise NotFound("No call waits for a result at this address.")
    placed = Placed(found.stream_id, found.run_id, {"callId": found.id, "status": "accepted"})
    with write_transaction():
        log.lock(found.stream_id)
        call = ToolCall.objects.get(pk=found.pk)
        mark = fingerprint([status, body["result" if status == "ok" else "error"]])
        if call.state == CallState.SETTLED:
            _refuse_another(call, mark, "call", None)
            return placed
        if call.state == CallState.ACCEPTED:
            _refuse_late(call, "The address has expired.", None)
        settle(call, status=status, content=content, on_settled=on_settled, answer_hash=mark)
    return placed


def _client_outcome(call_id: str, result: Any, error: Any) -> tuple[Literal["ok", "error"], str]:
    """Returns the status and the content of a client's result. A caller gets the result of its outside call as it was;
    a model reads text."""
    if _searchable(call_id).startswith(OUTSIDE_PREFIX):
        return ("ok", jsontext.encode_text(result)) if error is None else ("error", jsontext.encode_text(error))
    return parse_result_body({"result": result} if error is None else {"error": error})


def _searchable(identifier: Any) -> str:
    """The id as text that every database accepts; a client may send any JSON value."""
    return jsontext.clean_text(identifier) if isinstance(identifier, str) else ""


def _approve(
    call: ToolCall, by: str, comment: str | None, args: Mapping[str, Any] | None, on_settled: OnSettled
) -> None:
    if call.for_agent and args is not None and fingerprint(args) != call.args_hash:
        raise BadRequest("args cannot be changed: the agent makes the call itself.", field="args")
    # The tools of an MCP server that is not connected are not known here; their arguments are checked before the call.
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
    if call.for_agent:
        content = f"{PERMITTED} {comment}" if comment else PERMITTED
        settle(call, status="ok", content=content, on_settled=on_settled, before=[resolved], **fields)
        return
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


def _remember(call: ToolCall) -> dict[str, Any]:
    """Remembers the approval of `call`; a repeated decision may add it."""
    call.remembered = call.target_mark is not None
    ToolCall.objects.filter(pk=call.pk).update(remembered=call.remembered)
    return {"remembered": call.remembered}


def _audit(call: ToolCall, by: str) -> None:
    detail = {"tool": call.tool_name, "run": call.run_id, "changed": call.decided_args is not None}
    if call.remembered:
        detail["remembered"] = True
    action = "approval.approve" if call.approval_state == ApprovalState.APPROVED else "approval.reject"
    audit_record(actor=by, action=action, target=call.id, detail=detail, tenant_id=call.tenant_id)


def _repeat_decision(call: ToolCall, approve: bool, args: Mapping[str, Any] | None) -> dict[str, Any]:
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


def _check_comment(comment: Any) -> str | None:
    if comment is None:
        return None
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT_CHARACTERS:
        raise BadRequest(f"The comment must be text of at most {MAX_COMMENT_CHARACTERS} characters.", field="comment")
    return jsontext.clean_text(comment)


def _refuse_late(call: ToolCall, message: str, field: str | None) -> None:
    # The sweep settles it within seconds; the call counts as expired already.
    if call.expires_at is not None and call.expires_at <= database_moment():
        raise Gone(message, field=field)


def _refuse_another(call: ToolCall, mark: str, noun: str, field: str | None) -> None:
    if call.answer_hash is None:
        raise Gone(f"The {noun} has expired or was cancelled.", field=field)
    if call.answer_hash != mark:
        raise Conflict(f"The {noun} was already answered otherwise.", field=field)


def _option_label(call: ToolCall, response: str) -> str:
    options = jsontext.decode(call.options or "[]")
    return next((option["label"] for option in options if option["id"] == response), response)
