"""GET /events: the tenant's live events, filtered by task and space, resumable by `Last-Event-ID`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core_app import database
from core_app.ids import new_id
from core_app.lifecycle import process_wide
from core_app.shares import Claim
from edge_app.http.query import Query
from edge_app.sse.consumer import EventStreamConsumer, OpenStream, requested_position
from edge_app.tokens import StreamTokens, TokenRoute
from events_app.generations import Position
from events_app.positions import position
from events_app.presence import Presence
from faces.mesh.agents import agents_shown
from faces.mesh.live import LiveView, now_ms
from faces.mesh.models import MeshStream
from faces.mesh.spaces import space_get
from faces.mesh.stream import mesh_stream
from faces.mesh.tasks import task_get
from faces.mesh.wire import task_status
from tenants_app.principal import TASKS_READ, Principal

FOLLOWING = process_wide(Presence("mesh"))
"""The followers of each tenant in all processes. Started by `Gateway`."""

TOKEN_PRINCIPAL = StreamTokens(
    TokenRoute(
        path=re.compile(r"(?:/v1)?/events\Z"),
        streams=lambda match: MeshStream.objects.values("stream_id"),
        scope=TASKS_READ,
        refusal="The token is not known, or no longer good.",
    )
)
"""`/events?token=`: the token's own stream is that of its holder's tenant."""


class LiveEvents(EventStreamConsumer):
    """One follower."""

    required_scope = TASKS_READ
    _client_id = ""

    async def http_request(self, message: Mapping[str, Any]) -> None:
        """Serves the request, and is counted among the tenant's followers meanwhile."""
        try:
            await super().http_request(message)
        finally:
            if self._client_id:
                await FOLLOWING.leave(self.principal.tenant_id, self._client_id)

    async def open(self, query: Query) -> OpenStream:
        client_id, principal = new_id("cli"), self.principal
        after = requested_position(self.scope, query)
        # An empty filter is none: clients build their addresses from fields that may be empty.
        task_id, space_id = query.get("taskId") or None, query.get("spaceId") or None
        claim = Claim(principal.tenant_id)
        opened = await database.run_action(claim, _open, principal, client_id, after, task_id, space_id)
        self._client_id = client_id
        await FOLLOWING.enter(principal.tenant_id, client_id, {"client_id": client_id})
        return opened


def _open(
    principal: Principal, client_id: str, after: Position | None, task_id: str | None, space_id: str | None
) -> OpenStream:
    stream_id = mesh_stream(principal.tenant_id)
    # The position before the snapshots: what happens in between comes twice rather than never.
    here = position(stream_id)
    first: list[dict[str, Any]] = [{"type": "connected", "client_id": client_id, "timestamp": now_ms()}]
    if task_id is not None:
        first.append({"type": "task_status", "task": task_status(task_get(principal, task_id))})
    if space_id is not None:
        space_get(principal, space_id)
    first.append({"type": "welcome", "agents": agents_shown(principal)})
    start = here.resume(after) if after is not None else here.skip_removed(here.head)
    view = LiveView(first, task_id=task_id, space_id=space_id)
    return OpenStream(stream_id, start.after, here, view, start.dropped)
