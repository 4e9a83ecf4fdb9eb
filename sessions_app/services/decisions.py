"""Settling the tool calls that a run waits for: decisions, answers, results of clients and late callbacks, and expiry.

Each settles calls in one transaction with the stream locked. The one that settles the last awaited call makes the run
ready for its next leg (docs/architecture.md, "What holds when something dies").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import clock
from core_app.database import write_transaction
from events_app.removal import GoOn
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.selectors import run_active
from sessions_app.services.messages import tool_result_store
from sessions_app.services.run_end import session_state
from sessions_app.services.session import session_lock
from sessions_app.wakeup import WAKEUPS, SessionKey
from tenants_app.principal import APPROVALS, Principal
from tools_app import calls, remembered
from tools_app.types import SettledCall


def approval_decide(
    *,
    principal: Principal,
    public_id: str,
    approval_id: str,
    approve: bool,
    args_hash: str | None = None,
    args: Mapping[str, Any] | None = None,
    comment: str | None = None,
    remember: bool = False,
) -> dict[str, Any]:
    """Approves or rejects a call; needs the scope `approvals`. `remember` lets an approval stand for later calls of the
    tool in this session. A second decision is treated as docs/protocol-native.md
    describes."""
    principal.require(APPROVALS)
    with write_transaction():
        session = session_lock(principal, public_id)
        answer = calls.approval_decide(
            stream_id=session.stream_id,
            approval_id=approval_id,
            approve=approve,
            by=principal.actor,
            args_hash=args_hash,
            args=args,
            comment=comment,
            remember=remember,
            on_settled=tool_result_store,
        )
        session_unblock(session)
    return answer


def approvals_forget(*, principal: Principal, public_id: str, tool_name: str) -> None:
    """Forgets the remembered approvals of a tool; needs the scope `approvals`."""
    principal.require(APPROVALS)
    with write_transaction():
        session = session_lock(principal, public_id)
        remembered.approvals_forget(stream_id=session.stream_id, tool_name=tool_name, by=principal.actor)


def question_answer(*, principal: Principal, public_id: str, ref: str, response: str) -> dict[str, Any]:
    """Settles a question of `ask_user` with the user's answer."""
    with write_transaction():
        session = session_lock(principal, public_id)
        answer = calls.question_answer(
            stream_id=session.stream_id,
            ref=ref,
            response=response,
            by=principal.actor,
            on_settled=tool_result_store,
        )
        session_unblock(session)
    return answer


def tool_result_accept(
    *, principal: Principal, public_id: str, call_id: str, result: Any = None, error: Any = None
) -> dict[str, Any]:
    """Settles a call with the result of a tool that the client ran."""
    with write_transaction():
        session = session_lock(principal, public_id)
        answer = calls.client_result(
            stream_id=session.stream_id, call_id=call_id, result=result, error=error, on_settled=tool_result_store
        )
        session_unblock(session)
    return answer


def callback_result_accept(*, token: str, body: Any) -> dict[str, Any]:
    """Settles a call with the late result of a callback. The token alone authorizes the caller."""
    with write_transaction():
        placed = calls.callback_result(token=token, body=body, on_settled=tool_result_store)
        session_unblock(AgentSession.objects.get(stream_id=placed.stream_id))
    return placed.answer


def calls_expire(*, limit: int = 100, go_on: GoOn = lambda: True, failed: set[int] | None = None) -> int:
    """Settles all expired calls, in batches of `limit`, and makes their runs ready. Returns the number of runs. `go_on`
    is asked before each session; sessions that fail are added to `failed`, and those in it are skipped."""
    return len(calls.calls_expire(limit=limit, on_settled=_settle_expired, go_on=go_on, failed=failed))


def _settle_expired(settled: SettledCall) -> None:
    """Stores the result and unblocks the session, in the transaction that settled the call."""
    tool_result_store(settled)
    session_unblock(AgentSession.objects.get(stream_id=settled.stream_id))


def session_unblock(session: AgentSession) -> None:
    """Makes the waiting run ready when none of its calls is awaited any more, unless it waits for its provider. The
    caller holds the stream's lock."""
    run = run_active(session.pk)
    waits_for_calls = run is not None and run.state == RunState.WAITING and run.resume_at is None
    if run is not None and waits_for_calls and not calls.run_blocked(run.pk):
        Run.objects.filter(pk=run.pk).update(state=RunState.READY)
        WAKEUPS.announce(SessionKey(session.pk, session.tenant_id))
    session.state = session_state(session)
    session.updated_at = clock.now()
    session.save(update_fields=["state", "updated_at"])
