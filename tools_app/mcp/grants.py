"""OAuth grants of tenants' servers, as the requests of a connection use them."""

from __future__ import annotations

from typing import Any

from core_app.guarded_client import GuardedClient
from tools_app.mcp.definitions import ServerDefinition


def grant_auth(definition: ServerDefinition, http: GuardedClient) -> Any:
    """Returns the authentication of a server's requests, None without a grant."""
    return None
