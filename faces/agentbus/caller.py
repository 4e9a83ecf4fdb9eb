"""The caller of one request, and what a method may do with its connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from core_app.errors import Unauthorized
from tenants_app.principal import Principal

if TYPE_CHECKING:
    from faces.agentbus.followed_sessions import FollowedSessions
    from faces.agentbus.sign_in import ConnectParameters


class CallerConnection(Protocol):
    """The connection of a caller, as methods use it."""

    client_id: str
    sessions: FollowedSessions
    """The sessions whose events the client is shown."""

    watches_presence: bool
    """Whether the client is told who comes and goes, in a tenant with many connections."""

    async def connect(self, wanted: ConnectParameters) -> Mapping[str, Any]:
        """Signs the client in and returns what `connect` is answered with."""

    def disconnect_after_reply(self) -> None:
        """Closes the connection once the reply to the present request is on its way."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The connection of a request and its principal, None before `connect`."""

    connection: CallerConnection
    signed_in: Principal | None

    @property
    def principal(self) -> Principal:
        """The principal; raises Unauthorized before `connect`."""
        if self.signed_in is None:
            raise Unauthorized("The first request is 'connect'.")
        return self.signed_in
