"""Queries of a session's page: runs, messages and events, newest first in pages; the database truncates long texts.

Each list is one query. Callers check before that the reader may see the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import F, Model, QuerySet
from django.db.models.functions import Left, Length
from django.http import QueryDict

from events_app.positions import stream_events
from sessions_app.models import AgentSession, Message, Run
from tools_app.admin import open_waits
from tools_app.models import ToolCall

RUNS = 20
MESSAGES = 30
EVENTS = 200
CALLS = 50
LONGEST_TEXT = 4_000
LONGEST_DATA = 1_500

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, with links to older rows and back to the newest."""

    rows: list[Any]
    older: str | None
    newest: str | None


def runs(session: AgentSession, query: QueryDict) -> Page:
    """The session's runs."""
    rows = Run.objects.filter(session=session).annotate(prompt=Left("text", 300), reason=Left("error_reason", 300))
    return _page(rows.defer("text", "last_message", "error_reason", "metadata"), "number", RUNS, query, "runs")


def messages(session: AgentSession, query: QueryDict) -> Page:
    """The conversation. Texts over LONGEST_TEXT are truncated; `longer` is the number of characters left out."""
    rows = Message.objects.filter(session=session).annotate(
        shown=Left("content", LONGEST_TEXT),
        longer=Length("content") - LONGEST_TEXT,
        asked=Left("calls", LONGEST_TEXT),
    )
    return _page(rows.defer("content", "calls", "payload"), "number", MESSAGES, query, "messages")


def events(session: AgentSession, query: QueryDict) -> Page:
    """The event log. Data over LONGEST_DATA is truncated; `longer` is the number of characters left out."""
    rows = (
        stream_events(session.stream_id)
        .annotate(number=F("offset"), shown=Left("data", LONGEST_DATA), longer=Length("data") - LONGEST_DATA)
        .defer("data")
    )
    return _page(rows, "offset", EVENTS, query, "events")


def calls_waiting(session: AgentSession) -> list[ToolCall]:
    """The calls that wait for a person or a client."""
    return list(open_waits(ToolCall.objects.filter(stream_id=session.stream_id)).order_by("created_at")[:CALLS])


def _page(rows: QuerySet[Row], order: str, size: int, query: QueryDict, part: str) -> Page:
    before = query.get(part, "")
    if before.isdecimal() and len(before) < 19:
        rows = rows.filter(**{f"{order}__lt": int(before)})
    found = list(rows.order_by(f"-{order}")[: size + 1])
    more = len(found) > size
    return Page(
        found[:size],
        _address(query, part, str(getattr(found[size - 1], order))) if more else None,
        _address(query, part, None) if before else None,
    )


def _address(query: QueryDict, part: str, before: str | None) -> str:
    """The page's link with another position in one of its lists."""
    changed = query.copy()
    changed.pop(part, None)
    if before is not None:
        changed[part] = before
    return f"?{changed.urlencode()}#{part}"
