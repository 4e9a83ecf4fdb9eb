"""The credential of a connection: what it has signed in with, and its session token, which are checked again."""

from __future__ import annotations

from faces.agentbus.sign_in import SignedIn
from tenants_app.authentication import KeyWatch
from tenants_app.principal import Principal
from tenants_app.services.connection_token import aconnection_token_check, connection_token_cached


class Credential:
    """A caller that has signed in. Each check raises Unauthorized when the key, device, user or token is no longer
    good; the answers are no older than GATEWAY_KEY_CACHE_SECONDS."""

    __slots__ = ("_key", "_token_id")

    def __init__(self, signed_in: SignedIn) -> None:
        self._token_id = signed_in.token_id
        self._key = KeyWatch(signed_in.principal, None)

    @property
    def principal(self) -> Principal:
        """The caller, as of the last check."""
        return self._key.principal

    async def check(self) -> Principal:
        """Checks the session token and what is behind it, and returns what the caller may do now."""
        await aconnection_token_check(self._token_id)
        return await self._key.check()

    def check_now(self) -> Principal | None:
        """Does the same where earlier answers are still good; None where the database has to be asked."""
        return self._key.check_now() if connection_token_cached(self._token_id) else None

    async def check_key(self) -> bool:
        """Checks what is behind the token, before each batch of events; returns True."""
        if not self._key.fresh:
            await self._key.check()
        return True
