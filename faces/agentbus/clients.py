"""The signed-in clients of this process, and the messages between clients of all processes.

`broadcast`, `disconnect` and `presence.update` go as signals on a topic of the tenant, and this registry hands them to
the tenant's connections here. They are worth nothing later; what has to arrive is an event of a session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from django.conf import settings

from core_app import jsontext
from core_app.errors import RateLimited
from core_app.lifecycle import Part, process_wide
from events_app.presence import PRESENCE
from events_app.signals import SIGNALS

PRESENCE_TO_ALL = 100
"""With more connections of a tenant here, only those that have asked for the list are told who comes and goes: a
thousand clients that come back after a restart would otherwise be sent a million events."""

SPARED_SECONDS = 1.0
"""A socket may take this long for its `connect` before it makes room for others, so that clients that come back at the
same time behind one address do not displace each other."""


class Client(Protocol):
    """A signed-in connection as the registry sees it."""

    @property
    def tenant_id(self) -> int:
        """The tenant of the caller."""

    @property
    def client_id(self) -> str:
        """The id that the client has picked."""

    @property
    def name(self) -> str:
        """The id of the connection, unique in all processes."""

    @property
    def capabilities(self) -> frozenset[str]:
        """The abilities that the client named at its `connect`."""

    @property
    def watches_presence(self) -> bool:
        """True once the client has asked who is connected."""

    def describe(self) -> Mapping[str, Any]:
        """Returns the client as `presence.list` and GET /api/v1/clients show it."""

    def put_event(self, event: str, payload: str) -> None:
        """Sends an event, whose payload is JSON text."""

    def disconnect(self, reason: str) -> None:
        """Sends the event `disconnect` and closes the connection."""

    @property
    def address(self) -> str:
        """The client's address, as limits count it."""

    def make_room(self) -> None:
        """Closes a connection that has not signed in, for the sake of others."""

    def shut_down(self) -> None:
        """Sends the event `shutdown` and closes the connection, so that the client comes back to another process."""


class Clients(Part):
    """The connections of this process by tenant. Belongs to the loop."""

    def __init__(self) -> None:
        self._clients: dict[int, dict[str, Client]] = {}
        self._receivers: dict[int, Callable[[Mapping[str, Any]], None]] = {}
        self._open: set[Client] = set()
        self._unsigned: dict[Client, float] = {}
        """Sockets before their `connect`, the first to come first, with the times from which on they make room."""
        self.started_at = time.time()
        self.requests = 0
        """Requests that this process has taken."""

    @property
    def open(self) -> int:
        """Number of open sockets, signed in or not."""
        return len(self._open)

    async def drain(self) -> None:
        """Tells every client that the server ends, and closes its socket."""
        for client in list(self._open):
            client.shut_down()

    @contextmanager
    def track(self, client: Client) -> Iterator[None]:
        """Counts a socket while it is open; raises RateLimited at GATEWAY_MAX_CONNECTIONS of the process, and before
        that closes sockets that take long to sign in: those of one address beyond GATEWAY_MAX_IDLE_PER_ADDRESS, and
        the longest waiting one where the process has no room. Strangers could otherwise keep all clients out."""
        limit = settings.GATEWAY_MAX_CONNECTIONS
        self._make_room(client, limit)
        if len(self._open) >= limit:
            raise RateLimited(f"The process has {limit} open sockets (GATEWAY_MAX_CONNECTIONS).", retry_after=5)
        self._open.add(client)
        self._unsigned[client] = time.monotonic() + SPARED_SECONDS
        try:
            yield
        finally:
            self._forget(client)

    def _make_room(self, newcomer: Client, limit: int) -> None:
        if len(self._open) < limit and len(self._unsigned) < settings.GATEWAY_MAX_IDLE_PER_ADDRESS:
            return
        now, address = time.monotonic(), newcomer.address
        spared = next((at for at, since in enumerate(self._unsigned.values()) if since > now), len(self._unsigned))
        slow = list(self._unsigned)[:spared]
        excess = sum(client.address == address for client in self._unsigned) - settings.GATEWAY_MAX_IDLE_PER_ADDRESS + 1
        leaving = [client for client in slow if client.address == address][: max(0, excess)]
        if not leaving and len(self._open) >= limit:
            leaving = slow[:1]
        for client in leaving:
            self._forget(client)
            client.make_room()

    def _forget(self, client: Client) -> None:
        self._open.discard(client)
        self._unsigned.pop(client, None)

    def count(self, tenant_id: int) -> int:
        """Number of the tenant's signed-in connections here."""
        return len(self._clients.get(tenant_id, ()))

    async def enter(self, client: Client) -> None:
        """Adds a connection that has signed in; raises RateLimited at GATEWAY_MAX_CONNECTIONS of the tenant."""
        limit = settings.GATEWAY_MAX_CONNECTIONS
        members = self._clients.setdefault(client.tenant_id, {})
        if len(members) >= limit:
            raise RateLimited(f"The tenant has {limit} connections (GATEWAY_MAX_CONNECTIONS).", retry_after=5)
        members[client.name] = client
        self._unsigned.pop(client, None)
        if client.tenant_id not in self._receivers:
            self._receivers[client.tenant_id] = lambda signal: self._receive(client.tenant_id, signal)
            SIGNALS.subscribe(_topic(client.tenant_id), self._receivers[client.tenant_id])
        await PRESENCE.enter(client.tenant_id, client.name, client.describe())
        self._announce(client, "online")

    async def leave(self, client: Client) -> None:
        """Removes a connection that has ended; does nothing for one that never signed in."""
        members = self._clients.get(client.tenant_id, {})
        if members.pop(client.name, None) is None:
            return
        if not members:
            del self._clients[client.tenant_id]
            SIGNALS.unsubscribe(_topic(client.tenant_id), self._receivers.pop(client.tenant_id))
        await PRESENCE.leave(client.tenant_id, client.name)
        self._announce(client, "offline")

    async def refresh(self, client: Client) -> None:
        """Shows the client's present state to others."""
        if client.name in self._clients.get(client.tenant_id, ()):
            await PRESENCE.enter(client.tenant_id, client.name, client.describe())

    async def members(self, tenant_id: int) -> Sequence[Mapping[str, Any]]:
        """Returns the tenant's connected clients in all processes."""
        return await PRESENCE.members(tenant_id)

    def broadcast(self, tenant_id: int, *, event: str, payload: Any, capability: str | None = None) -> None:
        """Sends an event to the tenant's clients in all processes, or to those with a capability."""
        encoded = jsontext.encode_text(payload)
        SIGNALS.send(_topic(tenant_id), {"do": "event", "event": event, "payload": encoded, "capability": capability})

    def disconnect(self, tenant_id: int, client_id: str, reason: str) -> None:
        """Ends the tenant's connections of this client id in all processes."""
        SIGNALS.send(_topic(tenant_id), {"do": "disconnect", "client_id": client_id, "reason": reason})

    def _announce(self, client: Client, status: str) -> None:
        payload = jsontext.encode_text({"client_id": client.client_id, "status": status})
        SIGNALS.send(
            _topic(client.tenant_id),
            {"do": "presence", "payload": payload, "about": client.name},
        )

    def _receive(self, tenant_id: int, signal: Mapping[str, Any]) -> None:
        clients = list(self._clients.get(tenant_id, {}).values())
        if signal["do"] == "disconnect":
            for client in clients:
                if client.client_id == signal["client_id"]:
                    client.disconnect(signal["reason"])
        elif signal["do"] == "presence":
            few = len(clients) <= PRESENCE_TO_ALL
            for client in clients:
                if client.name != signal["about"] and (few or client.watches_presence):
                    client.put_event("presence.update", signal["payload"])
        else:
            for client in clients:
                if signal["capability"] in (None, *client.capabilities):
                    client.put_event(signal["event"], signal["payload"])


def _topic(tenant_id: int) -> str:
    return f"agentbus-{tenant_id}"


CLIENTS = process_wide(Clients())
"""Process-wide instance."""
