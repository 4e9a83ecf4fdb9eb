"""The production server: uvicorn with a drain, so that a stop loses nothing.

The first SIGTERM or SIGINT closes the listeners and drains the gateway (followers are told to reconnect, running
legs finish or are handed over, within GATEWAY_DRAIN_SECONDS); then uvicorn closes connections and ends the lifespan.
A second signal ends the process at once; the next start takes up the interrupted legs. A stop that hangs logs the
location of every task and thread, and ends the process in the same way.
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
from functools import partial
from types import FrameType
from typing import Any

import structlog
import uvicorn
from django.conf import settings
from uvicorn.config import STARTUP_FAILURE

from core_app.timeouts import task_location
from edge_app.sockets.connection import MAX_FRAME_BYTES
from gateway_project.process.connections import KEEP_ALIVE_SECONDS
from gateway_project.process.lifecycle import Gateway

CLOSE_SECONDS = 5
"""The time that open responses get after the drain; followers have been ended by then."""

DRAIN_GRACE_SECONDS = 5.0
"""A drain limits itself to GATEWAY_DRAIN_SECONDS; after this much more time the server continues without it."""

GIVE_UP_SECONDS = 15.0
"""A stop that takes this much longer than GATEWAY_DRAIN_SECONDS hangs: the steps after the drain take 13 s at most."""

HTTP_PROTOCOL = "gateway_project.process.http_protocol:LimitedHttpProtocol"
SOCKET_PROTOCOL = "gateway_project.process.socket_protocol:LimitedSocketProtocol"
BACKLOG = 2048

DAY_SECONDS = 86_400
"""The longest time-out set on a socket: the system does not accept any length."""

UNREAD_SECONDS = 60
"""A peer that acknowledges no data for this long loses its connection. Closing alone does not end a connection whose
buffers are full: its descriptor and 2 MiB of kernel memory stayed for as long as the peer liked."""

COLLECT_AFTER = (10_000, 20, 20)
"""Thresholds of the garbage collector: a request allocates hundreds of objects and frees nearly all of them without it,
and the default runs it every 700."""

logger = structlog.get_logger("gateway.server")


class PortTaken(Exception):
    """The server cannot listen on an address; the text names the setting."""


class GatewayServer(uvicorn.Server):
    """uvicorn's server with a drain before its shutdown."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        gateway: Gateway,
        on_ready: Callable[[], None],
        on_hang: Callable[[asyncio.AbstractEventLoop], None] | None = None,
    ) -> None:
        """Creates a server that calls `on_ready` when it listens, and `on_hang`, in a thread of its own, when a stop
        does not end in time."""
        super().__init__(config)
        self.gateway = gateway
        self.on_ready = on_ready
        self.on_hang = on_hang
        self.stop_requested = False
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs in the signal handler: sets flags only, which the next tick acts on."""
        if self.stop_requested:
            self.force_exit = True
        self.stop_requested = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        if sockets and self.config.ssl is not None:
            # uvicorn leaves the handshake its minute; a client that sends none is no better than one without a head.
            await self._start_tls(loop, sockets)
        else:
            await super().startup(sockets)
        if self.started:
            relax_garbage_collector()
            self.on_ready()

    async def _start_tls(self, loop: asyncio.AbstractEventLoop, sockets: list[socket.socket]) -> None:
        """Starts the lifespan and serves the sockets, as uvicorn does, with GATEWAY_HEAD_SECONDS for the handshake."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        make = partial(
            protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers = [
            await loop.create_server(
                make,
                sock=listener,
                ssl=self.config.ssl,
                backlog=self.config.backlog,
                ssl_handshake_timeout=settings.GATEWAY_HEAD_SECONDS,
            )
            for listener in sockets
        ]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        if self.stop_requested and self._drain is None:
            self._drain = asyncio.create_task(self._drain_gateway(), name="drain")
            self._watch_stop()
        if self.force_exit or (self._drain is not None and self._drain.done()):
            self.should_exit = True
        return await super().on_tick(counter)

    def _watch_stop(self) -> None:
        if self.on_hang is not None:
            seconds = settings.GATEWAY_DRAIN_SECONDS + GIVE_UP_SECONDS
            timer = threading.Timer(seconds, self.on_hang, (asyncio.get_running_loop(),))
            timer.name, timer.daemon = "stop-watch", True
            timer.start()

    async def _drain_gateway(self) -> None:
        logger.info("draining", seconds=settings.GATEWAY_DRAIN_SECONDS)
        for server in self.servers:
            # A follower that is told to reconnect must not return to the process that is stopping.
            server.close()
        try:
            async with asyncio.timeout(settings.GATEWAY_DRAIN_SECONDS + DRAIN_GRACE_SECONDS):
                await self.gateway.drain()
        except Exception:  # the stop continues, whatever a part raises
            logger.exception("drain_failed")


def abandon_process(loop: asyncio.AbstractEventLoop) -> None:
    """Ends a process whose stop hangs, with exit code 1, and logs the location of its tasks and threads."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    logger.error(
        "stop_hangs",
        tasks=sorted(f"{task.get_name()} at {task_location(task)}" for task in asyncio.all_tasks(loop)),
        threads=sorted(
            f"{names.get(ident)} at {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            for ident, frame in sys._current_frames().items()
        ),
    )
    os._exit(1)


def relax_garbage_collector() -> None:
    """Excludes the objects that live as long as the process from garbage collection. The collector went through half a
    million of them every few thousand requests, for a tenth of a second, a quarter of the cost of a relayed request.
    The garbage of the start is a hundredth of them, so it is not collected before."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def server_config(application: Any) -> uvicorn.Config:
    """Returns uvicorn's configuration: uvloop, protocols with limits, no access log (it would show `?api_key=`), no
    compression of sockets."""
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=HTTP_PROTOCOL,
        ws=SOCKET_PROTOCOL,
        ws_max_size=MAX_FRAME_BYTES,
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


def bind_sockets(host: str, ports: Iterable[int], *, shared: bool = False) -> list[socket.socket]:
    """Opens a listening socket per port; raises PortTaken. Several processes may open `shared` ports, and the system
    spreads connections over them."""
    bound: list[socket.socket] = []
    try:
        for port in ports:
            bound.append(_bind(host, port, shared))
    except PortTaken:
        for taken in bound:
            taken.close()
        raise
    return bound


def _bind(host: str, port: int, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise PortTaken(f"GATEWAY_HOST is '{host}', which is not an address of this machine.") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setblocking(False)
    _set_unread_timeout(listener)
    try:
        listener.bind(address)
        # Connections made from now on are served as soon as the server runs.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise PortTaken(f"GATEWAY_HOST is '{host}', which is not an address of this machine.") from None
        raise PortTaken(f"Port {port} on {host} {_reason(error)}; set {_setting_of(port)} to another.") from None
    return listener


def _setting_of(port: int) -> str:
    if port == settings.GATEWAY_PORT:
        return "GATEWAY_PORT"
    return "GATEWAY_EXTRA_PORTS" if port in settings.GATEWAY_EXTRA_PORTS else "GATEWAY_PROCESS_PORT"


def _set_unread_timeout(listener: socket.socket) -> None:
    """Makes the system close connections of this listener whose peer reads nothing; only Linux can."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Later than the gateway itself ends a slow follower, which logs the reason.
        seconds = min(max(UNREAD_SECONDS, 2 * settings.GATEWAY_SLOW_FOLLOWER_SECONDS), DAY_SECONDS)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is in use"
    if error.errno == errno.EACCES:
        return "may not be opened by this user"
    return f"cannot be opened ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
