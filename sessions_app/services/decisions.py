"""Settling what a run waits for: decisions, answers, results of client-run tools and late callbacks, expiry.

Each settles in one transaction with the stream locked; the one that settles the last awaited call makes the run
ready for its next leg (design, decision 2).
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
from tools_app import calls
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
) -> dict[str, Any]:
    """Approves or rejects; needs the scope `approvals`. Raises what "Deciding twice" of the contract says."""
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
            on_settled=tool_result_store,
        )
        session_unblock(session)
    return answer


def question_answer(*, principal: Principal, public_id: str, ref: str, response: str) -> dict[str, Any]:
    """Answers a question of `ask_user`."""
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
    *, principal: Principal, public_id: str, call_id: str, result: Any = None, error: str | None = None
) -> dict[str, Any]:
    """Takes the result of a tool that the client ran."""
    with write_transaction():
        session = session_lock(principal, public_id)
        answer = calls.client_result(
            stream_id=session.stream_id, call_id=call_id, result=result, error=error, on_settled=tool_result_store
        )
        session_unblock(session)
    return answer


def callback_result_accept(*, token: str, body: Any) -> dict[str, Any]:
    """Takes the late result of a callback that was answered with 202; the token is all the caller has."""
    with write_transaction():
        placed = calls.callback_result(token=token, body=body, on_settled=tool_result_store)
        session_unblock(AgentSession.objects.get(stream_id=placed.stream_id))
    return placed.answer


def calls_expire(*, limit: int = 100, go_on: GoOn = lambda: True, failed: set[int] | None = None) -> int:
    """Settles what nobody answered in time, for as long as `go_on` says, and lets the runs go on; how many runs were
    touched. The streams that `failed` are left alone."""
    return len(calls.calls_expire(limit=limit, on_settled=_settle_expired, go_on=go_on, failed=failed))


def _settle_expired(settled: SettledCall) -> None:
    """In the transaction that settled the call, so that no crash leaves a run waiting for nothing."""
    tool_result_store(settled)
    session_unblock(AgentSession.objects.get(stream_id=settled.stream_id))


def session_unblock(session: AgentSession) -> None:
    """Makes the waiting run ready when nothing of it is awaited any more; the stream is locked by the caller."""
    run = run_active(session.pk)
    if run is not None and run.state == RunState.WAITING and not calls.run_blocked(run.pk):
        Run.objects.filter(pk=run.pk).update(state=RunState.READY)
        WAKEUPS.announce(SessionKey(session.pk, session.tenant_id))
    session.state = session_state(session)
    session.updated_at = clock.now()
    session.save(update_fields=["state", "updated_at"])
