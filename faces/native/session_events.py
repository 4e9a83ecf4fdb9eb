"""GET /v1/sessions/:id/events: the session's stream as server-sent events, or, for clients that poll, as pages."""

from __future__ import annotations

from typing import Any

from core_app import database, jsontext
from core_app.errors import BadRequest
from core_app.shares import Claim
from edge_app.http.asgi import Scope
from edge_app.http.query import Query, stream_position, whole_number
from edge_app.sse.consumer import (
    EventStreamConsumer,
    EventView,
    OpenStream,
    PlainResponse,
    requested_position,
    requested_types,
)
from edge_app.sse.frames import EVENT_FRAME
from events_app import log
from events_app.batches import StoredEvent
from events_app.generations import Position
from faces.native.stream_plan import StreamPlan, StreamRequest, stream_plan
from sessions_app.selectors import run_get, session_get, session_position
from tenants_app.principal import Principal

MAX_PAGE = 1000


class SessionEventStream(EventStreamConsumer):
    """The events of one session."""

    async def open(self, query: Query) -> OpenStream | PlainResponse:
        public_id = self.scope["url_route"]["kwargs"]["session_id"]
        claim = Claim(self.principal.tenant_id, public_id)
        if query.get("format") == "json":
            return PlainResponse(await database.run_action(claim, _events_page, self.principal, public_id, query))
        request = _stream_request(self.scope, query)
        return await database.run_action(claim, open_stream, self.principal, public_id, request)


class PlannedView(EventView):
    """A session's events as the client's plan shows them."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self._within = True

    def frame(self, event: StoredEvent) -> bytes:
        """Returns the event's own bytes, or none."""
        self._plan.observe(event)
        self._within = self._plan.only_run in (None, event.run_id)
        return event.encode(EVENT_FRAME) if self._plan.shows(event) else b""

    def heartbeat(self, position: Position, *, behind: bool) -> bytes:
        """Returns a heartbeat. A stream of one run has no ids of other runs' events: the run of its newest id is the
        one that it resumes with."""
        return super().heartbeat(position, behind=behind and self._within)

    def ends(self, event: StoredEvent) -> bool:
        """True after the plan's last event."""
        return self._plan.ends(event)


def _stream_request(scope: Scope, query: Query) -> StreamRequest:
    follow = query.get("follow")
    if follow not in (None, "session"):
        raise BadRequest("The only value of 'follow' is 'session'.", field="follow")
    after = requested_position(scope, query)
    return StreamRequest(
        after=after,
        resumes=after is not None and not {"since", "follow"} & query.keys(),
        run_id=query.get("requestId"),
        whole_session=follow == "session",
        types=requested_types(query),
    )


def open_stream(principal: Principal, public_id: str, request: StreamRequest) -> OpenStream | PlainResponse:
    """Returns the stream of a session that a request means. Raises SessionNotFound."""
    session = session_get(principal, public_id)
    plan = stream_plan(session, request)
    if plan.finished:
        return PlainResponse(None)
    return OpenStream(session.stream_id, plan.after, plan.here, PlannedView(plan), plan.dropped, plan.over)


def _events_page(principal: Principal, public_id: str, query: Query) -> dict[str, Any]:
    session = session_get(principal, public_id)
    since = stream_position(query.get("since", "0"), "since")
    limit = min(max(1, whole_number(query.get("limit", "100"), "limit")), MAX_PAGE)
    here = session_position(session)
    resumption = here.resume(since)
    after, through, run = resumption.after, None, None
    if "requestId" in query:
        run = run_get(session, query["requestId"])
        after, through = max(after, run.first_offset - 1), run.last_offset
    types = requested_types(query)
    events = log.read(session.stream_id, after=after, limit=limit, types=types, through=through)
    shown = [event for event in events if run is None or event.run_id == run.pk]
    page: dict[str, Any] = {
        "events": [_event_to_wire(event) for event in shown],
        "lastEventIndex": here.newest.wire,
        "nextCursor": events[-1].position.wire if events and log.read_was_cut(events, limit) else None,
    }
    if resumption.dropped is not None:
        page["dropped"] = resumption.dropped
    return page


def _event_to_wire(event: StoredEvent) -> dict[str, Any]:
    return {"id": event.position.wire, "event": event.type, "data": jsontext.decode(event.data)}
