"""The timeline of a run: its model calls, tools and waits with their durations, read from the event log.

A model call lasts from the moment at which the run could go on until the last event of its response. Deltas are not
read. What has not ended yet lasts until now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from core_app import clock, jsontext
from core_app.errors import BadRequest
from events_app.positions import stream_events
from sessions_app.models import AgentSession, Run

MAX_EVENTS = 600
MAX_NOTE = 200
WIDTH = 1000
LEAST_WIDTH = 3
_DELTAS = ("message_delta", "thinking_delta")
_OF_MODEL = frozenset({"thinking_start", "message_start", "message_end", "tool_calls"})
_ENDS = frozenset({"agent_end", "agent_abort"})
_OPENS: Mapping[str, tuple[str, str, str]] = {
    "tool_execution_start": ("tool", "callId", "toolName"),
    "approval_required": ("approval", "approvalId", "toolName"),
    "ask_user": ("question", "ref", "question"),
    "tool_call_requested": ("client", "callId", "toolName"),
    "provider_waiting": ("provider", "", "reason"),
}
"""Events that begin a span: its kind, and the fields with its key and its name."""

_CLOSES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "tool_execution_end": (("tool", "callId"), ("client", "callId")),
    "approval_resolved": (("approval", "approvalId"),),
    "question_resolved": (("question", "ref"),),
    "provider_resumed": (("provider", ""),),
}
LABELS = {
    "model": "model",
    "tool": "tool",
    "approval": "waits for approval",
    "question": "waits for an answer",
    "client": "waits for the client",
    "provider": "waits for the provider",
    "retry": "began again",
    "fallback": "other model",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a run. `end` is None while it lasts."""

    kind: str
    name: str
    start: datetime
    end: datetime | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as the page draws it: `x` and `width` in thousandths of the run."""

    kind: str
    label: str
    name: str
    note: str
    after: str
    lasted: str
    x: int
    width: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run's bars in the order of their beginnings. `is_cut`: the run has more events than are read."""

    run: Run
    bars: list[Bar]
    lasted: str
    is_cut: bool


def timeline_of(session: AgentSession, run_id: str | None, newest: Run | None) -> Timeline | None:
    """Returns the timeline of one of the session's runs, of `newest` by default; None without a run that began."""
    run = newest
    if run_id:
        run = Run.objects.filter(session=session, pk=run_id).defer("text", "metadata", "last_message").first()
    if run is None or run.started_at is None:
        return None
    rows = stream_events(session.stream_id).filter(run_id=run.pk, offset__gte=run.first_offset)
    found = list(rows.exclude(type__in=_DELTAS).order_by("offset").values_list("type", "data")[: MAX_EVENTS + 1])
    events = [(kind, _decoded(data)) for kind, data in found[:MAX_EVENTS]]
    now = run.ended_at or clock.now()
    return draw(run, spans_of(events), run.started_at, now, is_cut=len(found) > MAX_EVENTS)


def spans_of(events: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Span]:
    """Returns the spans of a run's events, which are in order, in the order of their beginnings."""
    spans: list[Span] = []
    open_spans: dict[tuple[str, str], int] = {}
    ready: datetime | None = None
    model: int | None = None
    name = ""
    for kind, data in events:
        at = _instant(data.get("at"))
        if at is None:
            continue
        if kind in _OF_MODEL:
            if model is None:
                model = len(spans)
                spans.append(Span("model", name, ready or at, None))
            spans[model] = replace(spans[model], end=at, note=_response_note(kind, data) or spans[model].note)
            ready = at
            continue
        if kind == "error" and ready is not None and model is None:
            spans.append(Span("model", name, ready, at, str(data.get("code", ""))[:MAX_NOTE]))
        name = str(data.get("model") or data.get("to") or name) if kind in ("agent_start", "model_fallback") else name
        model, ready = None, at
        if kind in _OPENS:
            what, key, named = _OPENS[kind]
            open_spans[what, str(data.get(key, ""))] = len(spans)
            spans.append(Span(what, str(data.get(named) or "")[:MAX_NOTE], at, None))
        for what, key in _CLOSES.get(kind, ()):
            if (index := open_spans.pop((what, str(data.get(key, ""))), None)) is not None:
                spans[index] = replace(spans[index], end=at, note=_end_note(data))
        if kind == "run_retried":
            spans = [span if span.end else replace(span, end=at, note="lost") for span in spans]
            open_spans.clear()
            spans.append(Span("retry", f"attempt {data.get('attempt', '')}", at, at, str(data.get("reason", ""))))
        if kind == "model_fallback":
            spans.append(Span("fallback", name, at, at, str(data.get("reason", ""))[:MAX_NOTE]))
        if kind in _ENDS:
            spans = [span if span.end else replace(span, end=at) for span in spans]
    return spans


def draw(run: Run, spans: list[Span], begin: datetime, end: datetime, *, is_cut: bool) -> Timeline:
    """Returns the spans in proportion to the run."""
    begin = min([begin, *(span.start for span in spans)])
    end = max([end, *(span.end or span.start for span in spans)])
    whole = max((end - begin).total_seconds(), 0.001)
    bars = []
    for span in spans:
        after = (span.start - begin).total_seconds()
        lasted = ((span.end or end) - span.start).total_seconds()
        width = max(LEAST_WIDTH, round(WIDTH * lasted / whole))
        x = min(round(WIDTH * after / whole), WIDTH - width)
        times = duration(after), duration(lasted)
        bars.append(Bar(span.kind, LABELS[span.kind], span.name, span.note, *times, x, width, span.end is None))
    return Timeline(run, bars, duration(whole), is_cut)


def duration(seconds: float) -> str:
    """Formats 0.25 as 250 ms, 12.34 as 12.3 s, 3700 as 1 h 1 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds % 60)} s"


def _instant(value: Any) -> datetime | None:
    try:
        return parse_datetime(value) if isinstance(value, str) else None
    except ValueError:  # no day of the calendar
        return None


def _response_note(kind: str, data: Mapping[str, Any]) -> str:
    return f"{data.get('count')} tool calls" if kind == "tool_calls" else ""


def _end_note(data: Mapping[str, Any]) -> str:
    by = data.get("by")
    return f"{data.get('status') or ''}{f' by {by}' if by else ''}"[:MAX_NOTE]


def _decoded(data: str | None) -> Mapping[str, Any]:
    try:
        found = jsontext.decode(data or "{}")
    except (ValueError, BadRequest):  # removed by retention, or cut
        return {}
    return found if isinstance(found, dict) else {}
