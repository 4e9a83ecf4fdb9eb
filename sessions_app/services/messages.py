"""Appending messages to a conversation. The caller holds the stream's lock, so that their numbers are unique."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import F

from core_app.ids import new_id
from sessions_app.models import AgentSession, Message
from sessions_app.services.spans import wait_span_report
from tools_app.types import SettledCall


def message_add(
    *,
    session_id: int,
    run_id: str | None,
    role: str,
    content: str,
    message_id: str | None = None,
    calls: str | None = None,
    call_id: str | None = None,
    payload: str | None = None,
) -> Message:
    """Appends one message. `calls` is the JSON text of an assistant's tool calls."""
    AgentSession.objects.filter(pk=session_id).update(message_count=F("message_count") + 1)
    number = AgentSession.objects.values_list("message_count", flat=True).get(pk=session_id)
    return Message.objects.create(
        id=message_id or new_id("msg"),
        session_id=session_id,
        run_id=run_id,
        number=number,
        role=role,
        content=content,
        calls=calls,
        call_id=call_id,
        payload=payload,
    )


def messages_add(*, session_id: int, messages: Sequence[Message]) -> None:
    """Numbers and stores new messages. The number of statements does not depend on that of the messages, because on
    SQLite nobody else can write meanwhile."""
    AgentSession.objects.filter(pk=session_id).update(message_count=F("message_count") + len(messages))
    last = AgentSession.objects.values_list("message_count", flat=True).get(pk=session_id)
    for number, message in enumerate(messages, start=last - len(messages) + 1):
        message.id = message.id or new_id("msg")
        message.session_id, message.number = session_id, number
    Message.objects.bulk_create(messages)


def tool_result_store(settled: SettledCall) -> None:
    """Stores a tool's result as a message. Called in the transaction that settled the call. The result of a call that
    belongs to no run is its caller's, and no part of the conversation."""
    if not settled.run_id:
        return
    session_id = AgentSession.objects.values_list("pk", flat=True).get(stream_id=settled.stream_id)
    message_add(
        session_id=session_id,
        run_id=settled.run_id,
        role="tool_result",
        content=settled.content,
        call_id=settled.call_id,
    )
    wait_span_report(settled)
