"""Stream tokens at the gate: `?token=` instead of a key, on the two paths that read one session's events.

`EventSource` and browser sockets cannot send headers. The token's holder is the key that asked for it, cut down to
reading; the gate knows nothing of sessions, so this is the hook that it is given.
"""

from __future__ import annotations

import re

from core_app import database
from edge_app.http.asgi import Scope
from sessions_app.services.stream_token import stream_token_use
from tenants_app.authentication import query_parameter
from tenants_app.principal import Principal

READ_ONLY = "gateway.read_only"
"""Set in the scope of a connection that showed a token."""

_PATH = re.compile(r"\A/v1/sessions/([^/]+)/(?:events|ws)\Z")


async def token_principal(scope: Scope) -> Principal | None:
    """Who holds the token; None where there is none or the path takes none. Raises Unauthorized for a bad one."""
    token, path = query_parameter(scope, "token"), _PATH.match(scope["path"])
    if token is None or path is None:
        return None
    principal = await database.run(stream_token_use, token=token, session_id=path.group(1))
    scope[READ_ONLY] = True
    return principal
