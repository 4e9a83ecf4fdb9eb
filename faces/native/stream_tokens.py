"""Stream tokens of the native face: the event stream and the socket of one session."""

from __future__ import annotations

import re

from edge_app.tokens import StreamTokens, TokenRoute
from sessions_app.models import AgentSession

_PATH = re.compile(r"/v1/sessions/([^/]+)/(?:events|ws)\Z")

TOKEN_PRINCIPAL = StreamTokens(
    TokenRoute(
        path=_PATH,
        streams=lambda match: AgentSession.objects.filter(public_id=match.group(1)).values("stream_id"),
        sessions=lambda match: AgentSession.objects.filter(public_id=match.group(1)).values("pk"),
        refusal="The stream token is not known for this session, or no longer good.",
    )
)
"""The credentials that the gate takes in place of a key."""
