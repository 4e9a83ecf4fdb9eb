"""The ACP face as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.utils.module_loading import import_string

from core_app.lifecycle import Periodic, process_wide
from edge_app.face import Face, Route
from edge_app.http.asgi import Receive, Scope, Send

if TYPE_CHECKING:
    from faces.acp.server import AcpEndpoint

SWEEP_SECONDS = 15.0


class Connections(Periodic):
    """The endpoint, which is made for the first client, because its library costs a start a quarter of a second. Ends
    unused connections; a part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        super().__init__("acp_connections", self.sweep, SWEEP_SECONDS, first=False)
        self._endpoint: AcpEndpoint | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request or a socket."""
        if self._endpoint is None:
            self._endpoint = cast("Any", import_string("faces.acp.server.AcpEndpoint"))()
        await self._endpoint(scope, receive, send)

    async def sweep(self) -> None:
        """Ends connections that nobody uses."""
        if self._endpoint is not None:
            await self._endpoint.sweep()

    async def drain(self) -> None:
        """Ends all connections; their clients load their sessions again."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.close()

    async def stop(self) -> None:
        """Ends all connections and the loop."""
        await super().stop()
        await self.drain()


CONNECTIONS = process_wide(Connections())
"""Process-wide instance."""

FACE = Face(
    name="acp",
    consumers=(
        Route(path="acp", application=CONNECTIONS),
        Route(path="acp", application=CONNECTIONS, protocol="websocket"),
    ),
    parts=(CONNECTIONS,),
    openapi="faces.acp.openapi.DOCUMENT",
)
