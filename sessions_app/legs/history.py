"""The stored conversation as an engine takes it."""

from __future__ import annotations

from collections import defaultdict

from agents_app import registry as agents
from agents_app.engine import Attachment, HistoryMessage, PlannedCall, RunSpec, SessionSpec
from core_app import jsontext
from sessions_app.models import AgentSession, Message, PromptAttachment, Run
from tools_app import registry as tools


def history_load(session_id: int) -> tuple[HistoryMessage, ...]:
    """Every message, oldest first, with its attachments."""
    parts = _attachments(session_id)
    return tuple(
        HistoryMessage(
            message_id=row.pk,
            role=row.role,  # type: ignore[arg-type]  # written by this room only
            content=row.content,
            attachments=parts.get(row.pk, ()),
            calls=_calls(row.calls),
            call_id=row.call_id,
            payload=row.payload.encode() if row.payload is not None else None,
            run_id=row.run_id,
        )
        for row in Message.objects.filter(session_id=session_id).order_by("number")
    )


def session_spec(session: AgentSession) -> SessionSpec:
    """What the engine may know of the session, its tools included."""
    return SessionSpec(
        session_id=session.public_id,
        tenant_id=session.tenant_id,
        model=session.model,
        system_prompt=session.system_prompt,
        max_turns=session.max_turns,
        max_tokens=session.max_tokens,
        options=jsontext.decode(session.options),
        response_format=jsontext.decode(session.response_format) if session.response_format else None,
        history_policy=session.history_policy,  # type: ignore[arg-type]  # checked at creation
        tools=tools.tool_specs(session.stream_id, session_builtins(session)),
    )


def session_builtins(session: AgentSession) -> tuple[str, ...]:
    """The built-in tools that the client asked for and those that come with the engine."""
    engine = agents.engine_get(session.engine)
    return tuple(dict.fromkeys((*jsontext.decode(session.builtins), *engine.builtin_tools)))


def run_spec(run: Run) -> RunSpec:
    """What the engine may know of the run."""
    turns = Run.objects.values_list("turns", flat=True).get(pk=run.pk)
    return RunSpec(run_id=run.pk, attempt=run.attempt, turns=turns, api_key_id=run.api_key_id)


def _calls(text: str | None) -> tuple[PlannedCall, ...]:
    if text is None:
        return ()
    return tuple(PlannedCall(call["callId"], call["name"], call["arguments"]) for call in jsontext.decode(text))


def _attachments(session_id: int) -> dict[str, tuple[Attachment, ...]]:
    found: dict[str, list[Attachment]] = defaultdict(list)
    for row in PromptAttachment.objects.filter(message__session_id=session_id).order_by("message", "position"):
        data = bytes(row.data) if row.data is not None else None
        assert row.message_id is not None  # the filter's
        found[row.message_id].append(Attachment(row.kind, row.media_type, row.name, data, row.url))  # type: ignore[arg-type]
    return {message_id: tuple(parts) for message_id, parts in found.items()}
