"""OAuth grants of tenants' servers, as the requests of a connection use them.

A token is refreshed shortly before it expires, or when the server refuses it. One process does that at a time: the
claim is a column of the row, because authorization servers revoke a grant whose refresh token is used twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from core_app import clock, database, jsontext
from core_app.database import write_transaction
from core_app.errors import Unprocessable
from core_app.guarded_client import GuardedClient
from core_app.sealing import unseal
from tools_app.mcp.definitions import ServerDefinition
from tools_app.mcp.models import McpServer
from tools_app.mcp.services import clear_grant, scope_want, set_grant

if TYPE_CHECKING:
    from tools_app.mcp.oauth import Client, Grant

EARLY_SECONDS = 30.0
"""A token that expires sooner is refreshed before it is used."""

CLAIM = timedelta(seconds=40)
"""Time after which a process that claimed the refresh counts as dead: longer than a refresh may take."""

BUSY_SECONDS = 0.25
MAX_CHECKS = 120
"""How often, BUSY_SECONDS apart, another process's refresh is looked for."""


@dataclass(frozen=True, slots=True)
class Held:
    """A grant as it is in the row. `claimed`: this process has to refresh it; `busy`: another one does."""

    grant: Grant
    client: Client
    status: Literal["current", "claimed", "busy"]


class GrantKeeper:
    """The grant of one connection."""

    def __init__(self, key: int, http: GuardedClient) -> None:
        self._key = key
        self._http = http
        self._held: Held | None = None
        self._lock = asyncio.Lock()

    async def token(self) -> str | None:
        """Returns the access token, refreshed if it is about to expire; None without a grant."""
        if self._held is None:
            self._held = await database.run(grant_read, self._key)
        if self._held is None:
            return None
        expires_at = self._held.grant.expires_at
        if expires_at is not None and expires_at - EARLY_SECONDS < time.time() and self._held.grant.is_refreshable:
            return await self.renew(self._held.grant.access_token) or self._held.grant.access_token
        return self._held.grant.access_token

    async def renew(self, former: str) -> str | None:
        """Returns a token other than `former`, None when there is none to be had now."""
        async with self._lock:
            for _ in range(MAX_CHECKS):
                held = await database.run(grant_claim, self._key, former)
                if held is None:
                    return None
                if held.status == "claimed":
                    return await self._refresh(held)
                if held.status == "current":
                    self._held = held
                    return held.grant.access_token
                await asyncio.sleep(BUSY_SECONDS)
            return None

    async def want(self, scope: str) -> None:
        """Notes a scope that the server asks for, beside the one that was granted."""
        granted = "" if self._held is None else self._held.grant.granted_scope
        await database.run(scope_want, key=self._key, scope=f"{granted} {scope}")

    async def _refresh(self, held: Held) -> str | None:
        from tools_app.mcp.oauth import FlowFailed, refresh_grant  # noqa: PLC0415  (loads the library)

        try:
            renewed = await refresh_grant(held.client, self._http, held.grant)
        except FlowFailed:
            await database.run(grant_release, self._key)
            return None
        await database.run(grant_renew, self._key, renewed)
        self._held = None if renewed is None else Held(renewed, held.client, "current")
        return None if renewed is None else renewed.access_token


def grant_auth(definition: ServerDefinition, http: GuardedClient) -> Any:
    """Returns the authentication of a server's requests, None without a grant."""
    if definition.endpoint.grant is None:
        return None
    import httpx2  # noqa: PLC0415  (loads the library)
    from mcp.client.auth.utils import extract_field_from_www_auth, extract_scope_from_www_auth  # noqa: PLC0415

    keeper = GrantKeeper(definition.endpoint.grant, http)

    class GrantAuth(httpx2.Auth):
        """Signs requests with the token, and once more with a new one if it is refused."""

        async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
            token = await keeper.token()
            if token is not None:
                request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
            if response.status_code == 403 and extract_field_from_www_auth(response, "error") == "insufficient_scope":
                await keeper.want(extract_scope_from_www_auth(response) or "")
            if response.status_code != 401 or token is None:
                return
            fresh = await keeper.renew(token)
            if fresh is not None:
                request.headers["Authorization"] = f"Bearer {fresh}"
                yield request

    return GrantAuth()


def grant_read(key: int) -> Held | None:
    """Returns the grant of a row, None without one that can be opened."""
    row = McpServer.objects.select_related("tenant").filter(pk=key).first()
    return None if row is None else _held(row, "current")


def grant_claim(key: int, former: str) -> Held | None:
    """Claims the refresh of a grant whose token is still `former`. Returns None when it cannot be refreshed."""
    with write_transaction():
        rows = McpServer.objects.select_related("tenant").select_for_update(of=("self",))
        row = rows.filter(pk=key).first()
        held = None if row is None else _held(row, "claimed")
        if row is None or held is None:
            return None
        if held.grant.access_token != former:
            return Held(held.grant, held.client, "current")
        if row.refreshing_until is not None and row.refreshing_until > clock.now():
            return Held(held.grant, held.client, "busy")
        if not held.grant.is_refreshable:
            _end(row)
            return None
        row.refreshing_until = clock.now() + CLAIM
        row.save(update_fields=["refreshing_until"])
        return held


def grant_release(key: int) -> None:
    """Gives a claim back: the authorization server could not be asked."""
    with write_transaction():
        McpServer.objects.filter(pk=key).update(refreshing_until=None)


def grant_renew(key: int, grant: Grant | None) -> None:
    """Stores a refreshed grant, or the end of it (None)."""
    with write_transaction():
        row = McpServer.objects.select_for_update().filter(pk=key, auth="oauth").first()
        if row is None:
            return
        if grant is None:
            _end(row)
            return
        set_grant(row, grant.to_json(), grant.expires_at)
        row.save(update_fields=["sealed_grant", "grant_expires_at", "refreshing_until"])


def client_of(row: McpServer) -> Client:
    """Returns what OAuth needs to know of a row. Raises Unprocessable for a secret that no key opens."""
    from tools_app.mcp.oauth import Client  # noqa: PLC0415  (loads the library)

    return Client(
        url=row.url,
        scope=row.scope,
        client_id=row.client_id,
        client_secret=unseal(row.sealed_client_secret) if row.sealed_client_secret else None,
        allow_private=row.tenant.allow_private,
        owner=row.tenant_id,
    )


def stored_grant(row: McpServer) -> Grant | None:
    """Returns the grant of a row, None without one."""
    from tools_app.mcp.oauth import Grant  # noqa: PLC0415  (loads the library)

    return Grant.from_json(jsontext.decode(unseal(row.sealed_grant))) if row.sealed_grant else None


def _held(row: McpServer, status: Literal["current", "claimed"]) -> Held | None:
    try:
        grant = stored_grant(row)
        return None if grant is None else Held(grant, client_of(row), status)
    except Unprocessable:
        return None


def _end(row: McpServer) -> None:
    """Ends a grant; connections learn of it by the version."""
    clear_grant(row)
    row.version += 1
    row.updated_at = clock.now()
    row.save()
