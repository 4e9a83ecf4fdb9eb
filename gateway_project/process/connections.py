"""The HTTP connections of this process: which of them wait for a request, since when, and from which address.

A connection waits from its start, or from the end of a response, until the next request's head is complete. The table
closes connections that wait too long, and the longest waiting ones where too many do, so that silent connections never
keep others out. Nothing is refused for its address: behind a proxy, or behind one router, many clients share one. The
limit per address is for connections that have shown no good credential, since clients keep a hundred of theirs.

Time is counted in ticks of at least a second, and the server reads what has arrived between two of them. A connection
whose request arrived while the process was busy is therefore served and not closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import sys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import structlog
from django.conf import settings

from core_app.addresses import client_group
from core_app.lifecycle import process_wide
from core_app.metrics import CONNECTIONS_REFUSED

TICK_SECONDS = 1.0
SPARED_TICKS = 3
"""A connection is not closed for a crowd before it has waited for two whole seconds at least: a busy client that opens
some hundred connections at once may need a second until it has sent its requests on all of them."""

REPORT_TICKS = 60
"""Refusals are logged this often at most, as sums: a line for each would be an attack of its own."""

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection (nginx and load balancers 60 s, aiohttp 15 s). With uvicorn's 5 s a
connection closes while a request is on its way, and clients do not repeat a prompt by themselves."""

logger = structlog.get_logger("gateway.connections")


class Waiting(Protocol):
    """A connection as the table sees it."""

    group: str | None
    """Its address as `peer_group` returns it."""

    known: bool
    """True when a request on it had a good credential."""

    def give_up(self) -> None:
        """Closes the connection."""


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """The limits of request heads, connections and sockets, from the settings."""

    url_bytes: int
    headers: int
    head_bytes: int
    head_seconds: float
    idle: int
    idle_per_address: int
    descriptors: int
    """The first descriptor that a connection may not have."""

    socket_frames: int
    socket_messages: int

    @classmethod
    def from_settings(cls) -> EdgeLimits:
        """Returns the limits that the settings have now."""
        return cls(
            url_bytes=settings.GATEWAY_MAX_URL_BYTES,
            headers=settings.GATEWAY_MAX_HEADERS,
            head_bytes=settings.GATEWAY_MAX_HEAD_BYTES,
            head_seconds=settings.GATEWAY_HEAD_SECONDS,
            idle=settings.GATEWAY_MAX_IDLE_CONNECTIONS,
            idle_per_address=settings.GATEWAY_MAX_IDLE_PER_ADDRESS,
            descriptors=_usable_descriptors(),
            socket_frames=settings.GATEWAY_SOCKET_FRAMES_PER_MINUTE,
            socket_messages=settings.GATEWAY_SOCKET_MESSAGES_PER_MINUTE,
        )


def _usable_descriptors() -> int:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return sys.maxsize
    return allowed - min(settings.GATEWAY_RESERVED_FILES, allowed // 4)


@lru_cache(maxsize=4096)
def peer_group(address: str) -> str | None:
    """Returns the address by which a connection's peer is counted; None for a trusted proxy, which connects for all its
    clients."""
    proxies: list[str] = settings.GATEWAY_TRUSTED_PROXIES
    if "*" in proxies:
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None if address in proxies else address
    trusted = any(parsed in ipaddress.ip_network(proxy) for proxy in proxies)
    return None if trusted else client_group(address)


def _is_known(entry: tuple[Waiting, int]) -> bool:
    return entry[0].known


class ConnectionTable:
    """The open connections, for one loop at a time. Each step costs a few dictionary operations and no timer."""

    def __init__(self) -> None:
        self.limits: EdgeLimits | None = None
        self.open = 0
        self._heads: dict[Waiting, int] = {}
        self._idle: dict[Waiting, int] = {}
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused: Counter[str] = Counter()
        self._reported = 0

    @property
    def waiting(self) -> int:
        """Number of connections without a request."""
        return len(self._heads) + len(self._idle)

    # -- the life of a connection --------------------------------------------------------------------

    def admit(self, connection: Waiting, descriptor: int) -> bool:
        """Counts a new connection, which waits for its first head. Returns False when its descriptor is one of the
        last, which databases, providers and files need; the system always hands out the lowest free one."""
        self.open += 1
        if descriptor >= self.current_limits().descriptors:
            self.count("descriptors")
            self.relieve(min_ticks=0)
            return False
        self._heads[connection] = self._ticks
        self._schedule()
        return True

    def begin_head(self, connection: Waiting) -> None:
        """Starts the time of a head whose first bytes came on an idle connection."""
        if self._idle.pop(connection, None) is not None:
            self._heads[connection] = self._ticks

    def begin_request(self, connection: Waiting) -> None:
        """Stops the time: the head is complete."""
        if self._heads.pop(connection, None) is None:
            self._idle.pop(connection, None)

    def end_response(self, connection: Waiting) -> None:
        """Starts the time until the next head."""
        # Removed first, so that both tables stay in the order of their times.
        self.begin_request(connection)
        self._idle[connection] = self._ticks
        self._schedule()

    def forget(self, connection: Waiting) -> None:
        """Removes a connection that is closed, or has become a WebSocket."""
        self.open -= 1
        self.begin_request(connection)

    def count(self, reason: str) -> None:
        """Counts a refusal, for the metric and the log."""
        CONNECTIONS_REFUSED.labels(reason).inc()
        self._refused[reason] += 1
        self._schedule()

    # -- the clock -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Closes what waited too long, and the longest waiting connections beyond the limits."""
        limits = self.current_limits()
        self._ticks += 1
        self._expire(self._heads, limits.head_seconds, "head_time")
        self._expire(self._idle, KEEP_ALIVE_SECONDS, None)
        self.relieve(min_ticks=SPARED_TICKS)
        self._report()

    def relieve(self, *, min_ticks: int) -> None:
        """Closes the longest waiting connections until the limits hold, of those that wait for `min_ticks` or more."""
        limits = self.current_limits()
        if self.waiting <= min(limits.idle, limits.idle_per_address):
            return
        # Connections between two requests come last, and of these the known ones, because closing them costs
        # well-behaved clients a reconnect.
        waiting = sorted((*self._heads.items(), *self._idle.items()), key=_is_known)
        of_group = Counter(connection.group for connection, _ in waiting if not connection.known)
        excess = len(waiting) - limits.idle
        for connection, since in waiting:
            stranger = connection.group is not None and not connection.known
            crowded = stranger and of_group[connection.group] > limits.idle_per_address
            if (crowded or excess > 0) and self._ticks - since >= min_ticks:
                if stranger:
                    of_group[connection.group] -= 1
                excess -= 1
                self._give_up(connection, "address" if crowded else "idle")

    def _expire(self, table: dict[Waiting, int], seconds: float, reason: str | None) -> None:
        # Entries are in the order of their time, which is the same for all of a table.
        late = []
        for connection, since in table.items():
            if (self._ticks - since) * TICK_SECONDS <= seconds:
                break
            late.append(connection)
        for connection in late:
            self._give_up(connection, reason)

    def _give_up(self, connection: Waiting, reason: str | None) -> None:
        self.begin_request(connection)
        if reason is not None:
            self.count(reason)
        connection.give_up()

    def _report(self) -> None:
        if self._refused and self._ticks - self._reported >= REPORT_TICKS:
            logger.warning("connections_refused", waiting=self.waiting, open=self.open, **self._refused)
            self._refused.clear()
            self._reported = self._ticks

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(TICK_SECONDS, self._run_tick)

    def _run_tick(self) -> None:
        self._timer = None
        self.tick()
        if self.waiting or self._refused:
            self._schedule()

    def current_limits(self) -> EdgeLimits:
        """Returns the limits, read once: they do not change while a process runs."""
        if self.limits is None:
            self.limits = EdgeLimits.from_settings()
        return self.limits

    def reset(self) -> None:
        """Forgets the limits, so that they are read again."""
        self.limits = None
        peer_group.cache_clear()


CONNECTIONS = process_wide(ConnectionTable(), reset=ConnectionTable.reset)
"""Process-wide instance, in which every connection of the server registers."""
