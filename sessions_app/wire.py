"""Shapes of sessions, runs and messages as clients see them: one function per shape (docs/protocol-native.md).

The functions make no queries except those for fields that need one.
"""

from __future__ import annotations

from typing import Any

from core_app import clock, jsontext
from events_app.generations import Position
from sessions_app.events import SESSION_EVENTS
from sessions_app.models import AgentSession, Message, Run, RunState
from sessions_app.selectors import session_position
from sessions_app.services.run_end import token_usage
from tenants_app.models import LedgerEntry
from tenants_app.selectors.ledger import LedgerTotals
from tools_app.selectors import pending

RUN_STATUS = {RunState.READY.value: RunState.RUNNING.value}
"""Statuses that differ from the state: clients see a run between two legs as running."""


def session_to_wire(session: AgentSession, *, newest: Position | None = None) -> dict[str, Any]:
    """Returns a session. `newest` is the position of its stream's newest event, when the caller has it already."""
    until = session.closed_at or clock.now()
    return {
        "sessionId": session.public_id,
        "state": session.state,
        "model": session.model,
        "agent": session.agent,
        "title": session.title,
        "turns": session.turns,
        "toolCalls": session.tool_calls,
        "totalTokens": session.input_tokens + session.output_tokens,
        "costUsd": float(session.cost_usd),
        "costKnown": session.cost_known,
        "uptimeMs": clock.elapsed_ms(session.created_at, until),
        "createdAt": clock.iso_ms(session.created_at),
        "updatedAt": clock.iso_ms(session.updated_at),
        "lastEventIndex": (session_position(session).newest if newest is None else newest).wire,
        "userData": jsontext.decode(session.user_data),
        "groupId": session.group.public_id if session.group else None,
    }


def run_to_wire(run: Run) -> dict[str, Any]:
    """Returns a run."""
    error = {"code": run.error_code, "reason": run.error_reason} if run.error_code else None
    return {
        "requestId": run.pk,
        "status": RUN_STATUS.get(run.state, run.state),
        "attempt": run.attempt,
        "turns": run.turns,
        "tokenUsage": token_usage(run),
        "costUsd": float(run.cost_usd),
        "costKnown": run.cost_known,
        "providerWaiting": _provider_waiting(run),
        "endReason": run.end_reason,
        "error": error,
        "lastMessage": {"role": "assistant", "content": run.last_message} if run.last_message is not None else None,
        "endUser": run.end_user,
        "metadata": jsontext.decode(run.metadata),
        "createdAt": clock.iso_ms(run.created_at),
        "startedAt": clock.iso_ms(run.started_at) if run.started_at else None,
        "endedAt": clock.iso_ms(run.ended_at) if run.ended_at else None,
    }


def _provider_waiting(run: Run) -> dict[str, Any] | None:
    if run.resume_at is None:
        return None
    return {"until": clock.iso_ms(run.resume_at), "reason": run.outage_reason}


def response_to_wire(entry: LedgerEntry) -> dict[str, Any]:
    """Returns a model response of a run; a cost of None is one without a known price."""
    return {
        "number": entry.response_no,
        "model": entry.model,
        "kind": entry.kind,
        "tokenUsage": token_usage(entry),
        "costUsd": None if entry.cost_usd is None else float(entry.cost_usd),
        "at": clock.iso_ms(entry.created_at),
    }


def message_to_wire(message: Message) -> dict[str, Any]:
    """Returns a message of the conversation."""
    wire: dict[str, Any] = {"id": message.pk, "role": message.role, "content": message.content}
    if message.calls is not None:
        wire["toolCalls"] = jsontext.decode(message.calls)
    if message.call_id is not None:
        wire["callId"] = message.call_id
    return wire | {"createdAt": clock.iso_ms(message.created_at), "requestId": message.run_id}


def stats_to_wire(session: AgentSession, by_model: dict[str, LedgerTotals]) -> dict[str, Any]:
    """Returns a session's statistics; `by_model` comes from the ledger."""
    position = session_position(session)
    return {
        "sessionId": session.public_id,
        "turns": session.turns,
        "totalTokens": session.input_tokens + session.output_tokens,
        "costUsd": float(session.cost_usd),
        "costKnown": session.cost_known,
        "promptCount": session.prompt_count,
        "tokenUsage": token_usage(session),
        "toolCalls": session.tool_calls,
        "lastEventIndex": position.newest.wire,
        "eventBufferCount": position.head - position.floor,
        "byModel": {model: _totals_to_wire(totals) for model, totals in by_model.items()},
    }


def _totals_to_wire(totals: LedgerTotals) -> dict[str, Any]:
    return {
        "turns": totals.responses,
        "promptTokens": totals.input_tokens,
        "completionTokens": totals.output_tokens,
        "totalTokens": totals.input_tokens + totals.output_tokens,
        "cachedTokens": totals.cached_tokens,
        "reasoningTokens": totals.reasoning_tokens,
        "costUsd": float(totals.cost_usd),
        "costKnown": totals.cost_known,
    }


def status_to_wire(session: AgentSession, run: Run | None, queued: int) -> dict[str, Any]:
    """Returns what the session does and waits for; `queued` is the number of waiting prompts."""
    waiting = pending(session.stream_id)
    return {
        "state": session.state,
        "pendingApprovals": [SESSION_EVENTS.data(event) for event in waiting.approvals],
        "pendingQuestions": [SESSION_EVENTS.data(event) for event in waiting.questions],
        "pendingTools": [SESSION_EVENTS.data(event) for event in waiting.tools],
        "queue": queued,
        "lastEventIndex": session_position(session).newest.wire,
        "run": run_to_wire(run) if run is not None else None,
    }
