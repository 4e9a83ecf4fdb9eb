"""The production server: uvicorn, run by us so that a stop loses nothing.

The first SIGTERM or SIGINT closes the listeners and drains the gateway (followers are told to reconnect, running
legs finish or hand over, within GATEWAY_DRAIN_SECONDS); then uvicorn closes connections and ends the lifespan.
A second signal ends the process at once; what it was doing is taken up again after the next start. A stop that hangs
says where, and ends in the same way.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import structlog
import uvicorn
from django.conf import settings

from core_app.timeouts import task_location
from gateway_project.process.lifecycle import Gateway

LARGEST_FRAME = 26 * 1024 * 1024
"""uvicorn knows one limit for all sockets; this is the largest that any protocol here takes, paths check their own."""

CLOSE_SECONDS = 5
"""How long open answers get after draining; followers have been ended by then."""

KEEP_ALIVE_SECONDS = 75
"""Longer than who asks keeps a connection (nginx and load balancers 60 s, aiohttp 15 s): uvicorn's 5 s close it under
a request that is on its way, and a prompt is not sent again by itself."""

DRAIN_GRACE_SECONDS = 5.0
"""A drain keeps to GATEWAY_DRAIN_SECONDS by itself; past this much more the server goes on without it."""

GIVE_UP_SECONDS = 15.0
"""After GATEWAY_DRAIN_SECONDS, a stop hangs: what comes after the drain takes thirteen at most."""

BACKLOG = 2048

DAY_SECONDS = 86_400
"""The system takes no time-out of any length."""

UNREAD_SECONDS = 60
"""A peer that takes none of what was written to it for so long loses its connection. Closing alone does not end one
whose buffers are full: its descriptor and 2 MiB of the kernel's stayed for as long as the peer liked."""

COLLECT_AFTER = (10_000, 20, 20)
"""A request allocates hundreds of objects and frees nearly all of them by itself; the default looks every 700."""

log = structlog.get_logger("gateway.server")


class PortTaken(Exception):
    """An address cannot be listened on; the text names the setting."""


class GatewayServer(uvicorn.Server):
    """uvicorn with a drain before its shutdown."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        gateway: Gateway,
        on_ready: Callable[[], None],
        on_hang: Callable[[asyncio.AbstractEventLoop], None] | None = None,
    ) -> None:
        """`on_hang` is called in a thread of its own when a stop has not ended in time."""
        super().__init__(config)
        self.gateway = gateway
        self.on_ready = on_ready
        self.on_hang = on_hang
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
            self._watch_the_stop()
        if self.force_exit or (self._drain is not None and self._drain.done()):
            self.should_exit = True
        return await super().on_tick(counter)

    def _watch_the_stop(self) -> None:
        if self.on_hang is not None:
            seconds = settings.GATEWAY_DRAIN_SECONDS + GIVE_UP_SECONDS
            timer = threading.Timer(seconds, self.on_hang, (asyncio.get_running_loop(),))
            timer.name, timer.daemon = "stop-watch", True
            timer.start()

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


def process_abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Ends a process whose stop hangs, with 1, and says in the log what each task and thread of it is at."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    log.error(
        "stop_hangs",
        tasks=sorted(f"{task.get_name()} at {task_location(task)}" for task in asyncio.all_tasks(loop)),
        threads=sorted(
            f"{names.get(ident)} at {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            for ident, frame in sys._current_frames().items()
        ),
    )
    os._exit(1)


def garbage_spare() -> None:
    """Keeps the collector off what lives as long as the process: it went through half a million such objects every
    few thousand requests, for a tenth of a second and a quarter of what a relayed request costs. What a start leaves
    to collect is a hundredth of them, so it is not looked for either."""
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
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
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
    _cut_who_reads_nothing(listener)
    try:
        listener.bind(address)
        # Who connects from now on is answered as soon as the server runs.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise PortTaken(f"GATEWAY_HOST is '{host}', which is not an address of this machine.") from None
        raise PortTaken(f"Port {port} on {host} {_reason(error)}; {setting} names another.") from None
    return listener


def _cut_who_reads_nothing(listener: socket.socket) -> None:
    """By the system, for every connection that the listener takes; Linux alone knows how."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Never before the gateway itself ends a slow follower, which logs why.
        seconds = min(max(UNREAD_SECONDS, 2 * settings.GATEWAY_SLOW_FOLLOWER_SECONDS), DAY_SECONDS)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is in use"
    if error.errno == errno.EACCES:
        return "may not be opened by this user"
    return f"cannot be opened ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
