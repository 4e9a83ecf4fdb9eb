"""Spans of runs and of the waits in them. The process that ends a run or wait reports its span afterwards."""

from __future__ import annotations

from django.db import transaction

from core_app.tracing import Attributes, content_attribute, report_reserved_span, report_span, tracing_enabled
from sessions_app.models import AgentSession, Run
from tools_app.models import ToolCall
from tools_app.states import CallKind
from tools_app.types import SettledCall


def run_span_report(session: AgentSession, run: Run) -> None:
    """Reports the span of a run when its end commits."""
    if tracing_enabled() and run.trace is not None:
        transaction.on_commit(lambda: _report(session, run))


def wait_span_report(settled: SettledCall) -> None:
    """Reports the span of a call that was settled from outside without being executed here, when that commits."""
    if not tracing_enabled():
        return
    trace = Run.objects.filter(pk=settled.run_id).values_list("trace", flat=True).first()
    call = ToolCall.objects.get(pk=settled.call_id)
    if trace is not None and call.starts == 0:
        transaction.on_commit(lambda: _report_wait(trace, call, settled))


def run_attributes(session: AgentSession, run: Run) -> Attributes:
    """Returns the attributes that spans of a run and of its legs share."""
    return {
        "gen_ai.conversation.id": session.public_id,
        "gen_ai.agent.name": session.agent,
        "gateway.run.id": run.pk,
        "gateway.engine": session.engine,
    }


def _report(session: AgentSession, run: Run) -> None:
    assert run.trace is not None
    assert run.ended_at is not None
    named = session.agent or session.model
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        **run_attributes(session, run),
        "gen_ai.request.model": session.model,
        "gen_ai.usage.input_tokens": run.input_tokens,
        "gen_ai.usage.output_tokens": run.output_tokens,
        "gateway.run.state": run.state,
        "gateway.run.end_reason": run.end_reason,
        "gateway.run.legs": run.leg,
        "gateway.run.attempts": run.attempt,
        **content_attribute("gateway.prompt", lambda: run.text),
        **content_attribute("gateway.answer", lambda: run.last_message or ""),
    }
    report_reserved_span(
        run.trace,
        f"invoke_agent {named}",
        attributes,
        began=run.created_at,
        ended=run.ended_at,
        error=run.error_code or run.end_reason,
    )


def _report_wait(trace: str, call: ToolCall, settled: SettledCall) -> None:
    """Reports a wait, as a tool execution if a client ran the tool meanwhile or the call was refused at once."""
    assert call.settled_at is not None
    executed = call.expires_at is None or (call.kind == CallKind.CLIENT and call.approval_state is None)
    attributes: Attributes = {
        "gen_ai.operation.name": "execute_tool" if executed else None,
        "gen_ai.tool.name": call.tool_name,
        "gen_ai.tool.call.id": call.pk,
        "gateway.run.id": call.run_id,
        "gateway.tool.kind": call.kind,
        "gateway.tool.status": settled.status,
        "gateway.tool.approval": call.approval_state,
        **content_attribute("gen_ai.tool.call.arguments", lambda: call.decided_args or call.args),
        **content_attribute("gen_ai.tool.call.result", lambda: settled.content),
    }
    report_span(
        f"{'execute_tool' if executed else 'wait'} {call.tool_name}",
        attributes,
        below=trace,
        began=call.created_at,
        ended=call.settled_at,
        error=None if settled.status == "ok" else settled.status,
    )
