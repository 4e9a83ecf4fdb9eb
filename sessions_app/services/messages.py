"""Appending messages to a conversation. The caller holds the stream's lock, so that their numbers are unique."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from core_app.ids import new_id
from sessions_app.models import AgentSession, Message
from sessions_app.services.attachments import media_store
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
    number = _numbers_take(session_id, 1)
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
    last = _numbers_take(session_id, len(messages))
    for number, message in enumerate(messages, start=last - len(messages) + 1):
        message.id = message.id or new_id("msg")
        message.session_id, message.number = session_id, number
    Message.objects.bulk_create(messages)


def _numbers_take(session_id: int, count: int) -> int:
    """Takes the next numbers of the session's messages, and returns the last of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sessions_app_agentsession SET message_count = message_count + %s WHERE id = %s"
            " RETURNING message_count",
            [count, session_id],
        )
        row = cursor.fetchone()
    if row is None:
        raise AgentSession.DoesNotExist(session_id)
    last: int = row[0]
    return last


def tool_result_store(settled: SettledCall) -> None:
    """Stores a tool's result as a message. Called in the transaction that settled the call. The result of a call that
    belongs to no run is its caller's, and no part of the conversation."""
    if not settled.run_id:
        return
    session_id = AgentSession.objects.values_list("pk", flat=True).get(stream_id=settled.stream_id)
    message = message_add(
        session_id=session_id,
        run_id=settled.run_id,
        role="tool_result",
        content=settled.content,
        call_id=settled.call_id,
    )
    if settled.media:
        media_store(message=message, media=settled.media)
    wait_span_report(settled)
