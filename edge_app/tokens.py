"""Stream tokens at the gate: `?token=` in place of a key, on the routes that show one stream.

`EventSource` and browser sockets cannot send headers. The token's holder is the key or user that asked for it, cut down
to reading. A face declares with a `TokenRoute` which stream each of its paths shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from core_app import database
from core_app.errors import Unauthorized
from edge_app.http.asgi import Scope
from events_app.tokens import Rows, stream_token_use
from tenants_app.authentication import query_parameter
from tenants_app.principal import SESSIONS_READ, Principal

READ_ONLY = "gateway.read_only"
"""Set in the scope of a connection that showed a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRoute:
    """A path whose stream may be read with a token."""

    path: re.Pattern[str]
    """Matches the whole path, with the leading slash."""

    streams: Callable[[re.Match[str]], Rows]
    """Selects the id of the stream that the path shows. It is not evaluated, and not bound to a tenant: only the
    token's own stream counts."""

    sessions: Callable[[re.Match[str]], Rows] | None = None
    """The same for the path's session, by which processes of the version before know their tokens."""

    scope: str = SESSIONS_READ
    """The only scope that the holder keeps."""

    refusal: str = "The stream token is not known for this stream, or no longer good."


class StreamTokens:
    """Reads stream tokens: the `token_principal` of a face."""

    def __init__(self, *routes: TokenRoute) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope) -> Principal | None:
        """Returns the token's holder; None where there is no token or the path takes none. Raises Unauthorized for a
        token that is not good for the path's stream."""
        token = query_parameter(scope, "token")
        if token is None:
            return None
        for route in self._routes:
            if (match := route.path.match(scope["path"])) is not None:
                principal = await database.run(_holder, route, match, token)
                scope[READ_ONLY] = True
                return principal
        return None


def _holder(route: TokenRoute, match: re.Match[str], token: str) -> Principal:
    sessions = None if route.sessions is None else route.sessions(match)
    holder = stream_token_use(token=token, scope=route.scope, streams=route.streams(match), sessions=sessions)
    if holder is None:
        raise Unauthorized(route.refusal)
    return holder
