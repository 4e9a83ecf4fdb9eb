"""The ASGI side of the life of a process: the server's lifespan events start and stop the parts.

uvicorn sends them; daphne and test clients do not, so `EnsureStarted` starts the parts at the first connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from edge_app.http.asgi import Application, Receive, Scope, Send
from gateway_project.process.lifecycle import Gateway

logger = structlog.get_logger("gateway.lifespan")


class Lifespan:
    """The ASGI application for scopes of type `lifespan`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._run(send, "startup", self.gateway.start)
            else:
                await self._run(send, "shutdown", self.gateway.stop)
                return

    async def _run(self, send: Send, step: str, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except Exception:  # the protocol needs a reply, whatever a part raises
            logger.exception("lifespan_failed", step=step)
            await send({"type": f"lifespan.{step}.failed", "message": f"The gateway's {step} failed."})
        else:
            await send({"type": f"lifespan.{step}.complete"})


class EnsureStarted:
    """ASGI middleware that passes a connection on once the parts run."""

    def __init__(self, application: Application, gateway: Gateway) -> None:
        self.application = application
        self.gateway = gateway

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if self.gateway.started:
            return self.application(scope, receive, send)
        return self._start_first(scope, receive, send)

    async def _start_first(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.gateway.ensure_started()
        await self.application(scope, receive, send)
