"""The production server: uvicorn, run by us so that a stop loses nothing.

The first SIGTERM or SIGINT closes the listeners and drains the gateway (followers are told to reconnect, running
legs finish or hand over, within GATEWAY_DRAIN_SECONDS); then uvicorn closes connections and ends the lifespan.
A second signal ends the process at once; what it was doing is taken up again after the next start.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import structlog
import uvicorn
from django.conf import settings

from gateway_project.lifecycle import Gateway

LARGEST_FRAME = 26 * 1024 * 1024
"""uvicorn knows one limit for all sockets; this is the largest that any protocol here takes, paths check their own."""

CLOSE_SECONDS = 5
"""How long open answers get after draining; followers have been ended by then."""

DRAIN_GRACE_SECONDS = 5.0
"""A drain keeps to GATEWAY_DRAIN_SECONDS by itself; past this much more the server goes on without it."""

BACKLOG = 2048

COLLECT_AFTER = (10_000, 20, 20)
"""A request allocates hundreds of objects and frees nearly all of them by itself; the default looks every 700."""

log = structlog.get_logger("gateway.server")


class PortTaken(Exception):
    """An address cannot be listened on; the text names the setting."""


class GatewayServer(uvicorn.Server):
    """uvicorn with a drain before its shutdown."""

    def __init__(self, config: uvicorn.Config, *, gateway: Gateway, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.gateway = gateway
        self.on_ready = on_ready
        self.stop_asked = False
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs in the signal handler: sets flags only, the next tick acts on them."""
        if self.stop_asked:
            self.force_exit = True
        self.stop_asked = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            garbage_spare()
            self.on_ready()

    async def on_tick(self, counter: int) -> bool:
        if self.stop_asked and self._drain is None:
            self._drain = asyncio.create_task(self._drain_gateway(), name="drain")
        if self.force_exit or (self._drain is not None and self._drain.done()):
            self.should_exit = True
        return await super().on_tick(counter)

    async def _drain_gateway(self) -> None:
        log.info("draining", seconds=settings.GATEWAY_DRAIN_SECONDS)
        for server in self.servers:
            # A follower that is told to reconnect must not come back to the process that is leaving.
            server.close()
        try:
            async with asyncio.timeout(settings.GATEWAY_DRAIN_SECONDS + DRAIN_GRACE_SECONDS):
                await self.gateway.drain()
        except Exception:  # the stop goes on whatever a part raises
            log.exception("drain_failed")


def garbage_spare() -> None:
    """Keeps the collector off what lives as long as the process: it went through half a million such objects every
    few thousand requests, for a tenth of a second and a quarter of what a relayed request costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def server_config(application: Any) -> uvicorn.Config:
    """uvicorn's configuration: one loop, no access log (it would show `?api_key=`), no compression of sockets."""
    return uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=LARGEST_FRAME,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.GATEWAY_TRUSTED_PROXIES),
        forwarded_allow_ips=settings.GATEWAY_TRUSTED_PROXIES,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        ssl_certfile=settings.GATEWAY_TLS_CERT_FILE or None,
        ssl_keyfile=settings.GATEWAY_TLS_KEY_FILE or None,
    )


def sockets_bind(host: str, ports: Iterable[int]) -> list[socket.socket]:
    """A listening socket per port; raises PortTaken."""
    bound: list[socket.socket] = []
    try:
        for port in ports:
            bound.append(_bind(host, port))
    except PortTaken:
        for taken in bound:
            taken.close()
        raise
    return bound


def _bind(host: str, port: int) -> socket.socket:
    setting = "GATEWAY_PORT" if port == settings.GATEWAY_PORT else "GATEWAY_EXTRA_PORTS"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise PortTaken(f"GATEWAY_HOST is '{host}', which is not an address of this machine.") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind(address)
        # Who connects from now on is answered as soon as the server runs.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(f"Port {port} on {host} {_reason(error)}; {setting} names another.") from None
    return listener


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is in use"
    if error.errno == errno.EACCES:
        return "may not be opened by this user"
    return f"cannot be opened ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
