"""`SyncGatewayClient`: `GatewayClient` for programs without an event loop, on a loop in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway_client.background import BackgroundLoop
from gateway_client.rpc import ClientConfig, GatewayClient, Handler


class SyncGatewayClient:
    """One client. Handlers run in a thread, one after the other, and may send requests."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._loop = BackgroundLoop()
        self._client = self._loop.run(_make(config))
        self._handlers: dict[tuple[str, Callable[[Any], None]], Handler] = {}

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    def get_status(self) -> dict[str, Any]:
        return self._client.get_status()

    def connect(self) -> dict[str, Any]:
        return self._loop.run(self._client.connect())

    def disconnect(self) -> None:
        self._loop.run(self._client.disconnect())

    def close(self) -> None:
        """Disconnects and ends the thread; the client cannot be used again."""
        if not self._loop.closed:
            self.disconnect()
            self._loop.close()

    def send_request(self, method: str, params: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
        return self._loop.run(self._client.send_request(method, params, timeout))

    def send_event(self, event: str, payload: Mapping[str, Any] | None = None) -> None:
        self._loop.run(self._client.send_event(event, payload))

    def on_event(self, event: str, handler: Callable[[Any], None]) -> None:
        async def call(payload: Any) -> None:
            await asyncio.to_thread(handler, payload)

        self._handlers[event, handler] = call
        self._client.on_event(event, call)

    def off_event(self, event: str, handler: Callable[[Any], None] | None = None) -> None:
        self._client.off_event(event, None if handler is None else self._handlers.pop((event, handler), None))


async def _make(config: ClientConfig) -> GatewayClient:
    return GatewayClient(config)
