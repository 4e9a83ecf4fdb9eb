"""GET /v1/sessions/:id/events: the session's stream as server-sent events, or, for clients that poll, as pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import database, jsontext
from core_app.errors import BadRequest
from edge_app.sse.consumer import Answer, EventEndpoint, Opened, Query, number, position_of, types_of
from events_app import log
from events_app.batches import StoredEvent
from faces.native.stream_plan import StreamPlan, StreamRequest, stream_plan
from sessions_app.selectors import session_get, session_position
from tenants_app.principal import Principal

MAX_PAGE = 1000


class SessionEventStream(EventEndpoint):
    """One session's events."""

    async def open(self, scope: Mapping[str, Any], query: Query, principal: Principal) -> Opened | Answer:
        public_id = scope["url_route"]["kwargs"]["session_id"]
        if query.get("format") == "json":
            return Answer(await database.run(_page, principal, public_id, query))
        return await database.run(_opened, principal, public_id, _request(scope, query))


class PlannedView:
    """The stream as its plan shows it."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan

    async def frame(self, event: StoredEvent) -> bytes:
        """The event's own bytes, or none."""
        self._plan.meet(event)
        return event.sse_frame if self._plan.shows(event) else b""

    def ends(self, event: StoredEvent) -> bool:
        """As the plan says."""
        return self._plan.ends(event)


def _request(scope: Mapping[str, Any], query: Query) -> StreamRequest:
    follow = query.get("follow")
    if follow not in (None, "session"):
        raise BadRequest("The only value of 'follow' is 'session'.", field="follow")
    return StreamRequest(
        after=position_of(scope, query),
        run_id=query.get("requestId"),
        whole_session=follow == "session",
        types=types_of(query),
    )


def _opened(principal: Principal, public_id: str, request: StreamRequest) -> Opened | Answer:
    session = session_get(principal, public_id)
    plan = stream_plan(session, request)
    if plan.finished:
        return Answer(None)
    return Opened(session.stream_id, plan.after, PlannedView(plan), plan.dropped, plan.over)


def _page(principal: Principal, public_id: str, query: Query) -> dict[str, Any]:
    session = session_get(principal, public_id)
    since = number(query.get("since", "0"), "since")
    limit = min(max(1, number(query.get("limit", "100"), "limit")), MAX_PAGE)
    here = session_position(session)
    events = log.read(session.stream_id, after=since, limit=limit, types=types_of(query))
    page: dict[str, Any] = {
        "events": [{"id": event.offset, "event": event.type, "data": jsontext.decode(event.data)} for event in events],
        "lastEventIndex": here.head,
        "nextCursor": events[-1].offset if events and log.read_was_cut(events, limit) else None,
    }
    if since > here.head:
        page["dropped"] = {"from": since, "to": here.head, "reason": "reset"}
    elif since < here.floor:
        page["dropped"] = {"from": since + 1, "to": here.floor}
    return page
