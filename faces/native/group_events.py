"""GET /v1/groups/:groupId/events: all the tenant's sessions of a group in one stream.

The group's own log counts its sessions' events, so the id of a frame is a position in the group and a client
resumes from it as from a session's. Each data object says which session it is of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import database, jsontext
from core_app.errors import NotFound
from edge_app.sse.consumer import Answer, EventEndpoint, Opened, Query, dropped_frame, position_of, types_of
from events_app import log
from events_app.batches import StoredEvent
from events_app.positions import position
from sessions_app.models import AgentSession, SessionGroup
from tenants_app.principal import Principal


class GroupEventStream(EventEndpoint):
    """A group's events: from a position, else live; it has no end of its own."""

    async def open(self, scope: Mapping[str, Any], query: Query, principal: Principal) -> Opened | Answer:
        group_id = scope["url_route"]["kwargs"]["group_id"]
        return await database.run(_opened, principal, group_id, position_of(scope, query), types_of(query))


class GroupView:
    """Every event with its session's id put in front."""

    def __init__(self, types: frozenset[str] | None) -> None:
        self._types = types
        self._prefixes: dict[int, bytes] = {}

    async def frame(self, event: StoredEvent) -> bytes:
        """The frame under the group's own id; of an event that its session no longer has, that it is dropped."""
        if self._types is not None and event.type not in self._types:
            return b""
        if event.data == log.GONE:
            return dropped_frame(event.offset, {"from": event.offset, "to": event.offset})
        assert event.source is not None  # a group's log holds nothing but pointers
        prefix = self._prefixes.get(event.source)
        if prefix is None:
            prefix = self._prefixes[event.source] = await database.run(_prefix, event.source)
        data = prefix + event.data[1:]
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.offset, event.type.encode(), data)

    def ends(self, event: StoredEvent) -> bool:
        """Never: sessions come and go."""
        return False


def _opened(principal: Principal, group_id: str, after: int | None, types: frozenset[str] | None) -> Opened:
    group = SessionGroup.objects.filter(tenant_id=principal.tenant_id, public_id=group_id).first()
    if group is None:
        raise NotFound(f"There is no group {group_id!r}.")
    here = position(group.stream_id)
    view = GroupView(types)
    if after is None:
        return Opened(group.stream_id, here.head, view)
    if after > here.head:
        return Opened(group.stream_id, here.head, view, {"from": after, "to": here.head, "reason": "reset"})
    if after < here.floor:
        return Opened(group.stream_id, here.floor, view, {"from": after + 1, "to": here.floor})
    return Opened(group.stream_id, after, view)


def _prefix(stream_id: int) -> bytes:
    public_id = AgentSession.objects.filter(stream_id=stream_id).values_list("public_id", flat=True).first()
    return b'{"sessionId":%b,' % jsontext.encode(public_id)
