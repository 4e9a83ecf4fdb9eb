"""Reading the stored conversation, the session and the run into the values that an engine receives."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce, Length

from agents_app import registry as agents
from agents_app.engine import Attachment, HistoryMessage, PlannedCall, RunSpec, SessionSpec
from core_app import jsontext
from sessions_app.models import AgentSession, Message, PromptAttachment, Run
from tools_app import registry as tools


def history_load(session: AgentSession, *, full: bool = False) -> tuple[HistoryMessage, ...]:
    """Returns the messages, oldest first. Unless `full`, messages before the session's cut are left out, except system
    messages and the prompt that the first kept message answers.

    Attachments are described, not read: a prompt may have 20 MB of them, and most are not sent to the model again.
    """
    rows = Message.objects.filter(session=session)
    if not full and session.kept_from is not None:
        rows = rows.filter(_after_cut(rows, session.kept_from))
    found = list(rows.order_by("number"))
    since = {"message__number__gte": found[0].number} if found else {}
    parts = _attachments(session.pk, **since)
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
        for row in found
    )


def _after_cut(rows: QuerySet[Message], kept_from: str) -> Q:
    """Condition for the message `kept_from` and those after it, all system messages, and the prompt that it answers."""
    first = rows.filter(pk=kept_from).values_list("number", "role").first()
    if first is None:
        return Q()
    number, role = first
    # By their keys, so that a long session is not searched for them.
    before = list(rows.filter(role="system", number__lt=number).values_list("pk", flat=True))
    if role != "user":
        prompts = rows.filter(number__lt=number, role="user").order_by("-number")
        before += prompts.values_list("pk", flat=True)[:1]
    return Q(number__gte=number) | Q(pk__in=before)


def result_attachments(*, session_id: int, call_id: str) -> tuple[Attachment, ...]:
    """Returns the attachments of a tool's result."""
    return next(iter(_attachments(session_id, message__call_id=call_id).values()), ())


def result_text(session_id: int, call_id: str) -> str | None:
    """Returns the stored result of a call of the session, with the newest first where an imported id repeats."""
    rows = Message.objects.filter(session=session_id, role="tool_result", call_id=call_id)
    return rows.order_by("-number").values_list("content", flat=True).first()


def attachment_read(*, session_id: int, pk: int) -> bytes | None:
    """Returns the bytes of one attachment of the session, or None when it has been erased."""
    rows = PromptAttachment.objects.filter(pk=pk, message__session_id=session_id)
    found = rows.values_list("content__data", "data").first()
    data = None if found is None else found[0] if found[0] is not None else found[1]
    return bytes(data) if data is not None else None


def session_spec(session: AgentSession) -> SessionSpec:
    """Builds the engine's view of the session, including its tools."""
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
        tools=tools.tool_specs(session.stream_id, session_builtins(session), session.tenant_id),
        agent=session.agent,
        tenant_slug=session.tenant.slug,
    )


def session_builtins(session: AgentSession) -> tuple[str, ...]:
    """Returns the built-in tools that the client asked for, then those that the engine always has."""
    engine = agents.engine_get(session.engine)
    return tuple(dict.fromkeys((*jsontext.decode(session.builtins), *engine.builtin_tools)))


def run_spec(run: Run) -> RunSpec:
    """Builds the engine's view of the run."""
    turns = Run.objects.values_list("turns", flat=True).get(pk=run.pk)
    metadata = jsontext.decode(run.metadata)
    return RunSpec(run_id=run.pk, attempt=run.attempt, turns=turns, api_key_id=run.api_key_id, metadata=metadata)


def _calls(text: str | None) -> tuple[PlannedCall, ...]:
    if text is None:
        return ()
    return tuple(PlannedCall(call["callId"], call["name"], call["arguments"]) for call in jsontext.decode(text))


def _attachments(session_id: int, **where: Any) -> dict[str, tuple[Attachment, ...]]:
    found: dict[str, list[Attachment]] = defaultdict(list)
    rows = PromptAttachment.objects.filter(message__session_id=session_id, **where).defer("data")
    rows = rows.annotate(size=Coalesce("content__size", Length("data")))
    for row in rows.order_by("message", "position"):
        assert row.message_id is not None  # by the filter
        stored = row.pk if row.url is None else None
        part = Attachment(row.kind, row.media_type, row.name, url=row.url, stored=stored, size=row.size or 0)  # type: ignore[arg-type]
        found[row.message_id].append(part)
    return {message_id: tuple(parts) for message_id, parts in found.items()}
