"""The start and the end of a session's event stream (docs/protocol-native.md, "Following over SSE").

A plan is made once, when a client connects, from the session and its runs. After that, only offsets and run ids are
compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from core_app import clock
from events_app import log
from events_app.batches import StoredEvent
from events_app.generations import Position
from events_app.positions import Dropped, StreamPosition
from sessions_app.events import TERMINAL_TYPES, PromptReceived, SessionClosed
from sessions_app.models import UNFINISHED, AgentSession, Run
from sessions_app.selectors import run_ending_after, run_get, run_newest, session_position

RECENT = timedelta(seconds=60)
"""A run that ended this recently is still shown to a client that connects: a fast run must not outrun its client."""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The client's request. `after` is its `Last-Event-ID`, else `since`; with `types` None it gets all events.
    `resumes`: it named no start but a `Last-Event-ID`, as a client does that resumes a stream of one run."""

    after: Position | None = None
    resumes: bool = False
    run_id: str | None = None
    whole_session: bool = False
    types: frozenset[str] | None = None


@dataclass(slots=True)
class StreamPlan:
    """The stream that a request gets.

    `only_run` shows one run alone; an empty one stands for the next run. The stream ends with the terminal event of
    `end_run`; None stands for the next run that begins after `after`, or, with `whole_session`, for the session's end.
    `dropped` is the `events_dropped` object to send first. `finished`: nothing will ever come (204). `over`: the events
    are no longer kept, or lost, and `dropped` is all that is sent. `here` is the position that `after` was found at.
    """

    after: int
    here: StreamPosition
    only_run: str | None = None
    end_run: str | None = None
    whole_session: bool = False
    types: frozenset[str] | None = None
    finished: bool = False
    over: bool = False
    dropped: Dropped | None = None

    def shows(self, event: StoredEvent) -> bool:
        """True for events that the client gets."""
        if self.types is not None and event.type not in self.types:
            return False
        return self.only_run in (None, event.run_id) or event.type == SessionClosed.type

    def ends(self, event: StoredEvent) -> bool:
        """True when the stream is over after `event`, shown or not."""
        if event.type == SessionClosed.type:
            return True
        return not self.whole_session and event.type in TERMINAL_TYPES and event.run_id == self.end_run

    def observe(self, event: StoredEvent) -> None:
        """Notes an event before `shows` and `ends` are asked: the next run is the first one seen."""
        if self.end_run is None and not self.whole_session and event.type == PromptReceived.type:
            self.end_run = event.run_id
            if self.only_run == "":
                self.only_run = event.run_id


def stream_plan(session: AgentSession, request: StreamRequest) -> StreamPlan:
    """Makes the plan for a client that connects now. Raises NotFound for an unknown run."""
    # The position first: a prompt that is accepted meanwhile is then found as a run, or lies beyond the head.
    here = session_position(session)
    seen = here.common(request.after) if request.after is not None else None
    if request.run_id is not None:
        plan = _one_run(seen, run_get(session, request.run_id), here)
    elif seen is not None:
        own = _run_at(session, seen) if request.resumes and request.after == here.at(seen) else None
        plan = _one_run(seen, own, here) if own is not None else _from_position(session, request, seen, here)
    else:
        plan = _from_now(session, request, here)
    plan.types = request.types
    plan.whole_session = request.whole_session
    if request.after is not None and seen != request.after.offset:
        return _with_reset(plan, request.after)
    resumption = here.skip_removed(plan.after)
    plan.after, plan.dropped = resumption.after, resumption.dropped
    return plan


def _one_run(seen: int | None, run: Run, here: StreamPosition) -> StreamPlan:
    start = run.first_offset - 1
    after = max(start, seen) if seen is not None else start
    finished = run.last_offset is not None and after >= run.last_offset
    removed = run.last_offset is not None and here.floor >= run.last_offset
    return StreamPlan(after, here, only_run=run.pk, end_run=run.pk, finished=finished, over=removed)


def _run_at(session: AgentSession, offset: int) -> Run | None:
    """Returns the run of the event at `offset`, if more of it follows."""
    events = log.read(session.stream_id, after=offset - 1, limit=1, through=offset)
    run = Run.objects.filter(session=session, pk=events[0].run_id).first() if events and events[0].run_id else None
    return run if run is not None and (run.last_offset is None or run.last_offset > offset) else None


def _from_position(session: AgentSession, request: StreamRequest, after: int, here: StreamPosition) -> StreamPlan:
    coming = run_ending_after(session.pk, max(after, here.floor))
    if coming is not None:
        return StreamPlan(after, here, end_run=coming.pk)
    closed = session.closed_at is not None
    return StreamPlan(after, here, finished=closed and (not request.whole_session or after >= here.head))


def _from_now(session: AgentSession, request: StreamRequest, here: StreamPosition) -> StreamPlan:
    newest = run_newest(session.pk)
    if newest is not None and _is_current(newest):
        alone = None if request.whole_session else newest.pk
        return StreamPlan(newest.first_offset - 1, here, only_run=alone, end_run=newest.pk)
    alone = None if request.whole_session else ""
    return StreamPlan(here.head, here, only_run=alone, finished=session.closed_at is not None)


def _is_current(run: Run) -> bool:
    return run.state in UNFINISHED or (run.ended_at is not None and run.ended_at > clock.now() - RECENT)


def _with_reset(plan: StreamPlan, seen: Position) -> StreamPlan:
    """Lets a client that has seen lost events go on where the log that it read is still this one. Where nothing would
    follow, it is told all the same."""
    resumption = plan.here.reset(seen, max(plan.after, plan.here.floor))
    plan.after, plan.dropped = resumption.after, resumption.dropped
    if plan.finished:
        plan.finished, plan.over = False, True
    return plan
