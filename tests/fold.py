"""State is the fold of events: REST shows a session in the state that its log adds up to.

`sessions_check` compares every session in the database with its log: gapless offsets, one terminal event for each ended
run and nothing of the run after it, deltas that join to their message, and the same state, queue, pending ids,
messages, counts and spend on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from core_app.jsontext import decode
from events_app import log
from events_app.batches import StoredEvent
from sessions_app import wire
from sessions_app.events import TERMINAL_TYPES
from sessions_app.models import AgentSession, Message, Run, RunState
from sessions_app.selectors import run_active
from tenants_app.ledger_kinds import ESTIMATED_KINDS, OPEN_KINDS
from tenants_app.models import LedgerEntry


@dataclass
class FoldedRun:
    """A run, folded from its events."""

    status: str = "queued"
    text: str = ""
    last_message: dict[str, str] | None = None
    token_usage: dict[str, int] | None = None
    error: str | None = None
    terminals: int = 0


@dataclass
class Folded:
    """A session, folded from its events."""

    runs: dict[str, FoldedRun] = field(default_factory=dict)
    approvals: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str | None] = field(default_factory=dict)
    deltas: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    tool_calls: int = 0
    closed: bool = False
    truncated: bool = False

    @property
    def queue(self) -> int:
        return sum(run.status == "queued" for run in self.runs.values())

    @property
    def state(self) -> str:
        if self.closed:
            return "closed"
        if self.approvals:
            return "waiting_approval"
        if self.questions:
            return "waiting_input"
        if any(run_id is not None for run_id in self.tools.values()):
            return "waiting_tool"
        return "working" if any(run.status in ("queued", "running") for run in self.runs.values()) else "idle"


def fold(events: Sequence[StoredEvent]) -> Folded:
    """Folds events into a session; AssertionError where they contradict each other."""
    state = Folded()
    for event in events:
        data = decode(event.data)
        assert data["requestId"] == event.run_id
        state.truncated = state.truncated or bool(data.get("truncated"))
        if event.run_id is not None:
            run = state.runs.setdefault(event.run_id, FoldedRun())
            assert not run.terminals, f"{event.type} at {event.offset} comes after the end of its run"
            _run(state, run, event.type, data)
        _calls(state, event.type, data)
        if event.type == "session_closed":
            state.closed = True
    return state


def _run(state: Folded, run: FoldedRun, kind: str, data: dict[str, Any]) -> None:
    if kind == "prompt_received":
        run.text = data["text"]
    elif kind == "agent_start":
        assert run.status == "queued"
        run.status = "running"
        state.said.append(run.text)
    elif kind == "steering":
        state.said.append(data["text"])
    elif kind == "message_start":
        assert data["messageId"] not in state.deltas
        state.deltas[data["messageId"]] = ""
    elif kind == "message_delta":
        state.deltas[data["messageId"]] += data["delta"]
    elif kind == "message_end":
        state.answers[data["messageId"]] = data["content"]
    elif kind == "run_retried":
        assert run.status == "running"
        for message_id in set(state.deltas) - set(state.answers):
            del state.deltas[message_id]
    elif kind == "error":
        run.error = data["code"]
    elif kind in TERMINAL_TYPES:
        run.terminals += 1
        run.last_message, run.token_usage = data.get("lastMessage"), data.get("tokenUsage")
        run.status = "completed" if kind == "agent_end" else "failed" if data["reason"] == "error" else "aborted"


def _calls(state: Folded, kind: str, data: dict[str, Any]) -> None:
    if kind == "tool_calls":
        state.tool_calls += data["count"]
    elif kind == "approval_required":
        state.approvals[data["approvalId"]] = data["callId"]
    elif kind == "approval_resolved":
        if data["by"] != "remembered":
            del state.approvals[data["approvalId"]]
    elif kind == "ask_user":
        state.questions[data["ref"]] = data["ref"]
    elif kind == "question_resolved":
        del state.questions[data["ref"]]
    elif kind == "tool_call_requested":
        state.tools[data["callId"]] = data["requestId"]
    elif kind == "tool_execution_end":
        state.tools.pop(data["callId"], None)


def sessions_check() -> None:
    """Compares every session of the database with its log."""
    for session in AgentSession.objects.select_related("group", "stream"):
        session_check(session)


def whole_log(stream_id: int) -> list[StoredEvent]:
    """Reads every event of a stream; one read returns only so many bytes."""
    events: list[StoredEvent] = []
    while page := log.read(stream_id, after=events[-1].offset if events else 0, limit=10_000):
        events += page
    return events


def session_check(session: AgentSession) -> None:
    """Compares one session with its log."""
    floor, head = session.stream.floor, session.stream.head
    events = whole_log(session.stream_id)
    assert [event.offset for event in events] == list(range(floor + 1, head + 1)), "offsets have a gap"
    if floor:
        return
    state = fold(events)
    _runs_check(session, state)
    _messages_check(session, state)
    if state.truncated:
        return
    active = run_active(session.pk)
    queued = Run.objects.filter(session=session, state=RunState.QUEUED).count()
    status = wire.status_to_wire(session, active, queued)
    assert state.queue == status["queue"]
    assert set(state.approvals) == {waiting["approvalId"] for waiting in status["pendingApprovals"]}
    assert set(state.questions) == {waiting["ref"] for waiting in status["pendingQuestions"]}
    assert set(state.tools) == {waiting["callId"] for waiting in status["pendingTools"]}
    assert state.tool_calls == session.tool_calls
    if active is None or active.state in (RunState.WAITING,):
        assert state.state == status["state"]
    assert status["lastEventIndex"] == session.stream.newest.wire


def _runs_check(session: AgentSession, state: Folded) -> None:
    runs = {run.pk: run for run in Run.objects.filter(session=session)}
    assert set(runs) == set(state.runs)
    for run_id, run in runs.items():
        told, shown = state.runs[run_id], wire.run_to_wire(run)
        status = "running" if shown["status"] == "waiting" else shown["status"]
        assert told.status == status, run_id
        assert told.terminals == (0 if run.ended_at is None else 1)
        _spend_check(run)
        assert told.error is None or told.error == run.error_code
        if told.status == "completed" and not state.truncated:
            assert told.last_message == shown["lastMessage"]
            assert told.token_usage == shown["tokenUsage"]


def _spend_check(run: Run) -> None:
    """Each response is in the ledger. It may also have requests without a response, as estimates."""
    entries = LedgerEntry.objects.filter(run_id=run.pk)
    reported = entries.exclude(kind__in=(*ESTIMATED_KINDS, *OPEN_KINDS))
    known, every = (_tokens(rows) for rows in (reported, entries))
    total = run.input_tokens + run.output_tokens
    assert total <= every, "a response was not counted"
    assert len(entries) >= run.turns, "a response was not counted"
    if run.state == RunState.COMPLETED and run.attempt == run.leg:
        assert known <= total, "a response was counted twice"


def _tokens(entries: QuerySet[LedgerEntry]) -> int:
    return sum(entry.input_tokens + entry.output_tokens for entry in entries)


def _messages_check(session: AgentSession, state: Folded) -> None:
    rows = Message.objects.filter(session=session, run__isnull=False).order_by("number")
    if state.truncated:
        return
    assert {row.pk: row.content for row in rows if row.role == "assistant" and row.content} == state.answers
    assert sorted(row.content for row in rows if row.role == "user") == sorted(state.said)
    for message_id, text in state.deltas.items():
        if message_id in state.answers:
            assert text == state.answers[message_id], "deltas lost or doubled a character"
