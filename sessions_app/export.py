"""Export of everything that is stored about a session, as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core_app import clock, jsontext
from events_app import log
from sessions_app import wire
from sessions_app.models import AgentSession, Message, Run
from sessions_app.selectors import sessions_of_end_user
from sessions_app.services.erasure_mark import being_erased
from tools_app import registry as tools

_PAGE = 500


def session_export(session: AgentSession) -> Iterator[bytes]:
    """Yields a line for the session, then its tools, runs, messages and events; `kind` names the type of the line.

    Raises Conflict before the first line when the session is being erased, and after the last one when an erasure came
    meanwhile, because the lines are incomplete then.
    """
    _erasure_check(session)
    yield export_line("session", wire.session_to_wire(session) | {"systemPrompt": session.system_prompt})
    for tool in tools.tools_list(session.stream_id):
        yield export_line("tool", tool)
    for run in Run.objects.filter(session=session).order_by("number").iterator():
        yield export_line("run", wire.run_to_wire(run) | {"text": run.text})
    for message in Message.objects.filter(session=session).order_by("number").defer("payload").iterator():
        yield export_line("message", wire.message_to_wire(message))
    yield from _events(session)
    _erasure_check(session)


def sessions_of(tenant_id: int, *, session_id: str | None, end_user: str | None) -> Iterator[AgentSession]:
    """Returns the tenant's sessions, or only those of the session id or end user, oldest first. Sessions that are being
    erased are left out, unless the id names one."""
    found = AgentSession.objects.select_related("group").filter(tenant_id=tenant_id).order_by("pk")
    found = found.filter(public_id=session_id) if session_id is not None else found.filter(erasing_at=None)
    if end_user is not None:
        found = found.filter(pk__in=sessions_of_end_user(tenant_id, end_user).values("pk"))
    return found.iterator()


def _erasure_check(session: AgentSession) -> None:
    if not AgentSession.objects.filter(pk=session.pk, erasing_at=None).exists():
        raise being_erased(session)


def _events(session: AgentSession) -> Iterator[bytes]:
    after = 0
    while events := log.read(session.stream_id, after=after, limit=_PAGE):
        for event in events:
            data = jsontext.decode(event.data)
            yield export_line("event", {"id": event.position.wire, "event": event.type, "data": data})
        after = events[-1].offset


def export_line(kind: str, value: dict[str, Any]) -> bytes:
    """Returns one line of an export."""
    return jsontext.encode({"kind": kind, "exportedAt": clock.iso_ms(clock.now()), **value}) + b"\n"
