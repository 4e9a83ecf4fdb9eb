"""GET /v1/groups/:groupId/events: all the tenant's sessions of a group in one stream.

The group's own stream counts its sessions' events, so the id of a frame is a position in the group and a client
resumes from it as from a session's. Each data object names its session.
"""

from __future__ import annotations

from collections.abc import Sequence

from core_app import database, jsontext
from core_app.errors import NotFound
from core_app.shares import Claim
from edge_app.http.query import Query
from edge_app.sse.consumer import EventStreamConsumer, EventView, OpenStream, requested_position, requested_types
from edge_app.sse.frames import dropped_frame, event_frame
from events_app import log
from events_app.batches import StoredEvent
from events_app.generations import Position
from events_app.positions import dropped_range, position
from sessions_app.models import SessionGroup
from sessions_app.selectors import session_names
from tenants_app.principal import Principal


class GroupEventStream(EventStreamConsumer):
    """A group's events: from a position, else live; the stream has no end of its own."""

    async def open(self, query: Query) -> OpenStream:
        group_id = self.scope["url_route"]["kwargs"]["group_id"]
        after, types = requested_position(self.scope, query), requested_types(query)
        claim = Claim(self.principal.tenant_id)
        return await database.run_action(claim, _open_stream, self.principal, group_id, after, types)


class GroupView(EventView):
    """Every event with its session's id in front of its data."""

    def __init__(self, types: frozenset[str] | None) -> None:
        self._types = types
        self._prefixes: dict[int, bytes] = {}

    async def prepare(self, events: Sequence[StoredEvent]) -> None:
        """Loads the ids of sessions whose first events these are."""
        sources = {event.source for event in events if event.source is not None and self._shows(event)}
        new = sources - self._prefixes.keys()
        if new:
            names = await database.run(session_names, new)
            self._prefixes |= {source: b'{"sessionId":%b,' % jsontext.encode(names.get(source)) for source in new}

    def frame(self, event: StoredEvent) -> bytes:
        """Returns the frame under the group's own id; for an event that its session no longer has, that it is
        dropped."""
        if not self._shows(event):
            return b""
        if event.data == log.REMOVED_DATA:
            return dropped_frame(event.position, dropped_range(event.position, event.position))
        assert event.source is not None  # a group's stream has nothing but pointers
        return event_frame(event, self._prefixes[event.source] + event.data[1:])

    def _shows(self, event: StoredEvent) -> bool:
        return self._types is None or event.type in self._types


def _open_stream(
    principal: Principal, group_id: str, after: Position | None, types: frozenset[str] | None
) -> OpenStream:
    group = SessionGroup.objects.filter(tenant_id=principal.tenant_id, public_id=group_id).first()
    if group is None:
        raise NotFound(f"There is no group {group_id!r}.")
    here = position(group.stream_id)
    start = here.resume(after) if after is not None else here.skip_removed(here.head)
    return OpenStream(group.stream_id, start.after, here, GroupView(types), start.dropped)
