"""The sockets of this process, so that a stop ends them: an idle one at once, others after what they are answering."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from core_app.lifecycle import Part, process_wide


class OpenSocket(Protocol):
    """A connection as a stop sees it."""

    def leave(self) -> None:
        """Takes no new requests, and ends once the present ones have been answered."""


class ResponseSockets(Part):
    """The open sockets. Belongs to the loop."""

    def __init__(self) -> None:
        self._open: set[OpenSocket] = set()

    @contextmanager
    def track(self, socket: OpenSocket) -> Iterator[None]:
        """Knows a socket while it is open."""
        self._open.add(socket)
        try:
            yield
        finally:
            self._open.discard(socket)

    async def drain(self) -> None:
        """Lets every socket end. Those that are not done in time are closed by the server."""
        for socket in list(self._open):
            socket.leave()


RESPONSE_SOCKETS = process_wide(ResponseSockets())
"""Process-wide instance."""
