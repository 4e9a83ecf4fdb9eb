"""The connector of the guarded client. It resolves names in threads of its own, and its sockets connect to checked
addresses only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from core_app import addresses

RESOLVER_THREADS = 64
"""Threads for DNS alone: a tenant's slow name server must not hold the loop's default executor."""

RESOLVED_AT_ONCE = 8
"""Concurrent name look-ups of one tenant, abandoned ones included. A name server that never answers holds a thread for
half a minute, and must not hold them all."""


@dataclass(slots=True)
class Call:
    """The request of the current context. `owner` is the tenant that supplied its URL. `connected` is set before the
    first byte of it may be written."""

    owner: int | None = None
    connected: bool = False


current_call: ContextVar[Call] = ContextVar("guarded_client_call")

Resolve = Callable[[str, int], list[str]]
"""A blocking function that returns the numeric addresses of a name; OSError when there are none."""


class Connector(aiohttp.TCPConnector):
    """Notes when a request has its connection. Until then nothing of it was sent."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Returns the connection, noted in the request of the current context."""
        connection = await super().connect(req, traces, timeout)
        current_call.get().connected = True
        return connection


class Refused(OSError):
    """A refusal inside aiohttp's connector, which passes on OSError only."""


class Resolver(AbstractResolver):
    """Resolves names in threads of its own, and returns addresses only when all of them may be called."""

    def __init__(self, resolve: Resolve, allowed: bool) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._slots: WeakValueDictionary[int | None, asyncio.Semaphore] = WeakValueDictionary()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns the addresses of a name. Raises Refused when one of them may not be called."""
        slot = self._slots.setdefault(current_call.get().owner, asyncio.Semaphore(RESOLVED_AT_ONCE))
        await slot.acquire()
        lookup = asyncio.get_running_loop().run_in_executor(_resolvers, self._resolve, host, port)
        lookup.add_done_callback(partial(_release_slot, slot))
        # A cancelled request leaves its thread to finish the look-up.
        found = await asyncio.shield(lookup)
        for address in found:
            _refuse_private(address, self._allowed)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Does nothing: all resolvers of the process share the threads."""


_resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="gateway-dns")


def _release_slot(slot: asyncio.Semaphore, lookup: asyncio.Future[list[str]]) -> None:
    slot.release()
    if not lookup.cancelled():
        lookup.exception()  # retrieved, because an abandoned look-up has no reader


def resolve_name(host: str, port: int) -> list[str]:
    """Returns the addresses of a name, each once; OSError when there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def socket_factory(allowed: bool) -> Callable[[Any], socket.socket]:
    """Returns the connector's maker of sockets, which refuses private addresses unless they are allowed."""

    def make(info: Any) -> socket.socket:
        # The last check, of the address that is connected to, whatever resolved it.
        _refuse_private(info[4][0], allowed)
        return socket.socket(family=info[0], type=info[1], proto=info[2])

    return make


def _refuse_private(address: str, allowed: bool) -> None:
    parsed = addresses.parse(address)
    if parsed is None or not (allowed or addresses.is_public(parsed)):
        raise Refused("The address is not public.")
