"""Where a session's event stream starts and where it ends (native contract, "SSE").

A plan is made once, at connecting, from the session and its runs; the follower then only compares offsets and
run ids with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from core_app import clock
from events_app.batches import StoredEvent
from events_app.positions import StreamPosition
from sessions_app.events import TERMINAL_TYPES, PromptReceived, SessionClosed
from sessions_app.models import UNFINISHED, AgentSession, Run
from sessions_app.selectors import run_get, run_newest, run_to_come, session_position

RECENT = timedelta(seconds=60)
"""A run that ended so recently is still shown to who connects: a fast run must not outrun its client."""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What the client asked for. `after` is its `Last-Event-ID`, else `since`; `types` None takes all."""

    after: int | None = None
    run_id: str | None = None
    whole_session: bool = False
    types: frozenset[str] | None = None


@dataclass(slots=True)
class StreamPlan:
    """The stream that the request comes to. `finished`: there is nothing to come, ever (204); `over`: what would have
    come is no longer kept, and saying so is all.

    `only_run` shows one run alone. The stream ends after `end_run`'s terminal event; None is the next run that
    begins after `after`, or, with `whole_session`, the session's end. `dropped` is what has to be said first.
    """

    after: int
    only_run: str | None = None
    end_run: str | None = None
    whole_session: bool = False
    types: frozenset[str] | None = None
    finished: bool = False
    over: bool = False
    dropped: dict[str, object] | None = None

    def shows(self, event: StoredEvent) -> bool:
        """Whether the client is to see `event`."""
        if self.types is not None and event.type not in self.types:
            return False
        return self.only_run in (None, event.run_id) or event.type == SessionClosed.type

    def ends(self, event: StoredEvent) -> bool:
        """Whether the stream is over after `event`, shown or not."""
        if event.type == SessionClosed.type:
            return True
        return not self.whole_session and event.type in TERMINAL_TYPES and event.run_id == self.end_run

    def observe(self, event: StoredEvent) -> None:
        """Takes note of an event before it is judged: "the next run" becomes the first one seen."""
        if self.end_run is None and not self.whole_session and event.type == PromptReceived.type:
            self.end_run = event.run_id
            if self.only_run == "":
                self.only_run = event.run_id


def stream_plan(session: AgentSession, request: StreamRequest) -> StreamPlan:
    """The plan for a client that connects now. Raises NotFound for an unknown run."""
    # The head first: a prompt that is accepted meanwhile is then either found as a run or lies beyond it.
    here = session_position(session)
    if request.run_id is not None:
        plan = _one_run(request, run_get(session, request.run_id), here)
    elif request.after is not None:
        plan = _from_position(session, request, request.after, here)
    else:
        plan = _from_now(session, request, here)
    plan.types = request.types
    plan.whole_session = request.whole_session
    return _with_losses(plan, request, here)


def _one_run(request: StreamRequest, run: Run, here: StreamPosition) -> StreamPlan:
    start = run.first_offset - 1
    after = max(start, request.after) if request.after is not None else start
    seen = run.last_offset is not None and after >= run.last_offset
    removed = run.last_offset is not None and here.floor >= run.last_offset
    return StreamPlan(after, only_run=run.pk, end_run=run.pk, finished=seen, over=removed)


def _from_position(session: AgentSession, request: StreamRequest, after: int, here: StreamPosition) -> StreamPlan:
    coming = run_to_come(session.pk, max(after, here.floor))
    if coming is not None:
        return StreamPlan(after, end_run=coming.pk)
    closed = session.closed_at is not None
    return StreamPlan(after, finished=closed and (not request.whole_session or after >= here.head))


def _from_now(session: AgentSession, request: StreamRequest, here: StreamPosition) -> StreamPlan:
    newest = run_newest(session.pk)
    if newest is not None and _current(newest):
        alone = None if request.whole_session else newest.pk
        return StreamPlan(newest.first_offset - 1, only_run=alone, end_run=newest.pk)
    alone = None if request.whole_session else ""
    return StreamPlan(here.head, only_run=alone, finished=session.closed_at is not None)


def _current(run: Run) -> bool:
    return run.state in UNFINISHED or (run.ended_at is not None and run.ended_at > clock.now() - RECENT)


def _with_losses(plan: StreamPlan, request: StreamRequest, here: StreamPosition) -> StreamPlan:
    """Says first what the position asks for and the log no longer, or not yet, has."""
    if request.after is not None and request.after > here.head:
        plan.dropped = {"from": plan.after, "to": here.head, "reason": "reset"}
        plan.after = here.head
    elif plan.after < here.floor:
        plan.dropped = {"from": plan.after + 1, "to": here.floor}
        plan.after = here.floor
    return plan
