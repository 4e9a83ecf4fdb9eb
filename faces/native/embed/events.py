"""GET /v1/embed/sessions/:id/events: the conversation's part of a session's events, for its end user."""

from __future__ import annotations

from core_app import database
from core_app.errors import BadRequest
from core_app.shares import Claim
from edge_app.http.query import Query
from edge_app.sse.consumer import EventStreamConsumer, OpenStream, PlainResponse, requested_position
from faces.native.embed.caller import caller_in, session_check
from faces.native.session_events import open_stream
from faces.native.stream_plan import StreamRequest
from tenants_app.principal import APPROVALS

TYPES = frozenset(
    {
        "prompt_received",
        "agent_start",
        "message_start",
        "message_delta",
        "message_end",
        "run_retried",
        "ask_user",
        "question_resolved",
        "agent_end",
        "agent_abort",
        "session_closed",
    }
)
"""Events without arguments and results of tools, which the agent's makers may not want to show."""

DECIDING = TYPES | {"approval_required", "approval_resolved"}


class EmbedEventStream(EventStreamConsumer):
    """The events of one session until it closes."""

    async def open(self, query: Query) -> OpenStream | PlainResponse:
        session_id = self.scope["url_route"]["kwargs"]["session_id"]
        session_check(caller_in(self.scope), session_id)
        if unknown := query.keys() - {"since"}:
            raise BadRequest(f"There is no parameter '{min(unknown)[:64]}'.", field=min(unknown)[:64])
        request = StreamRequest(
            after=requested_position(self.scope, query),
            whole_session=True,
            types=DECIDING if self.principal.allows(APPROVALS) else TYPES,
        )
        claim = Claim(self.principal.tenant_id, session_id)
        return await database.run_action(claim, open_stream, self.principal, session_id, request)
