"""Imported history, and the copy of a conversation that a fork starts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agents_app.engine import CUT_MARK, copied_payload
from core_app import jsontext
from core_app.errors import BadRequest, Conflict, NotFound
from core_app.ids import new_id
from sessions_app.models import AgentSession, Message
from sessions_app.services.attachments import attachments_copy
from sessions_app.services.messages import messages_add
from tools_app.types import PlannedCall

MAX_IMPORTED = 500

MAX_IMPORTED_NAME = 200
"""Characters of a call's id and of a tool's name. Providers take fewer; each gets what it takes."""

PAGE = 500
"""Number of messages that are copied together."""


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """A message of earlier history. `calls` belongs to an assistant's message, `call_id` to a tool result. `end_user`
    names the end user of the conversation."""

    role: Literal["user", "assistant", "tool_result"]
    content: str
    calls: tuple[PlannedCall, ...] = ()
    call_id: str | None = None
    end_user: str | None = None


def messages_import(*, session: AgentSession, messages: Sequence[ImportedMessage]) -> None:
    """Adds earlier history to a new session. Raises BadRequest when calls and results do not match, because an open
    call would be executed."""
    _pairs_check(messages)
    rows = [
        Message(
            role=message.role,
            content=message.content,
            calls=_calls_text(message.calls),
            call_id=message.call_id,
            end_user=message.end_user,
        )
        for message in messages
    ]
    if rows:
        messages_add(session_id=session.pk, messages=rows)


def fork_number(source: AgentSession, message_id: str) -> int:
    """Returns the number of the message at which a fork starts. Raises NotFound, or Conflict for a message before a
    run's answer."""
    last = Message.objects.filter(session=source, pk=message_id).first()
    if last is None:
        raise NotFound(f"The session has no message {message_id!r}.", field="messageId")
    if last.role not in ("user", "assistant") or last.calls is not None:
        raise Conflict("A fork starts at a user's message or at a final answer.", field="messageId")
    return last.number


def messages_copy(*, source: AgentSession, target: AgentSession, through: int) -> None:
    """Copies the history up to the message with the number `through`, and the start of what is sent to the model. It
    needs no lock on the source, because messages are only added."""
    history = Message.objects.filter(session=source, number__lte=through)
    ids: dict[str, str] = {}
    for after in range(0, through, PAGE):
        rows = history.filter(number__gt=after, number__lte=after + PAGE).select_related("run").order_by("number")
        page = list(rows.defer("run__text", "run__last_message", "run__metadata"))
        ids.update((row.pk, new_id("msg")) for row in page)
        copies = {row.pk: _copy(row, ids) for row in page}
        messages_add(session_id=target.pk, messages=list(copies.values()))
        attachments_copy(copies)
    _cut_copy(source, target, ids)


def _cut_copy(source: AgentSession, target: AgentSession, ids: Mapping[str, str]) -> None:
    """Lets the copy begin where its source does, if the response that says so was copied."""
    kept_from = ids.get(source.kept_from) if source.kept_from is not None else None
    if kept_from is None:
        return
    noted = Message.objects.filter(session=target, role="assistant", payload__contains=f'{CUT_MARK}:"{kept_from}"')
    if noted.exists():
        AgentSession.objects.filter(pk=target.pk).update(kept_from=kept_from, kept_for=source.kept_for)


def _copy(row: Message, ids: Mapping[str, str]) -> Message:
    """Copies a message without its run. It keeps the run's end user, so that an erasure finds it."""
    payload = row.payload
    if payload is not None and CUT_MARK in payload:
        payload = copied_payload(payload, ids)
    return Message(
        id=ids[row.pk],
        role=row.role,
        content=row.content,
        calls=row.calls,
        call_id=row.call_id,
        payload=payload,
        end_user=row.run.end_user if row.run is not None else row.end_user,
    )


def _calls_text(calls: tuple[PlannedCall, ...]) -> str | None:
    if not calls:
        return None
    return jsontext.encode_text([{"callId": call.call_id, "name": call.name, "arguments": call.args} for call in calls])


def _pairs_check(messages: Sequence[ImportedMessage]) -> None:
    """Raises BadRequest unless every call has exactly one result before the next other message."""
    opened: set[str] = set()
    seen: set[str] = set()
    for index, message in enumerate(messages):
        field = f"messages.{index}"
        if message.role == "tool_result":
            if message.call_id not in opened:
                raise BadRequest(f"{field}.callId names no open call of an assistant before it.", field=field)
            opened.discard(message.call_id)
            continue
        if opened:
            raise BadRequest(f"{field} comes before the result of the call {min(opened)!r}.", field=field)
        if message.call_id is not None or (message.calls and message.role != "assistant"):
            raise BadRequest(f"{field}: 'callId' is for tool_result, 'toolCalls' for assistant.", field=field)
        ids = [call.call_id for call in message.calls]
        if len(set(ids)) < len(ids) or seen.intersection(ids):
            raise BadRequest(f"{field}.toolCalls uses a callId twice.", field=field)
        opened.update(ids)
        seen.update(ids)
    if opened:
        raise BadRequest(f"The call {min(opened)!r} has no result among the messages.", field="messages")
