"""The HTTP client for addresses that tenants name (callbacks, webhooks, pages, attachments): it cannot be sent inside.

https only and public addresses only, unless private ones are allowed (GATEWAY_CALLBACK_ALLOW_PRIVATE or the
tenant's setting). A name is resolved once per connection, every address of the answer is checked, and the
socket is made to a checked address only, so a name that changes its mind (DNS rebinding) gains nothing. No
redirects, proxies, cookies or compression; time and size are bounded. Any port may be named: a public address
is the operator of that address's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from yarl import URL

from core_app import addresses
from core_app.lifecycle import Part, process_wide
from core_app.tracing import current_span

MAX_URL_CHARACTERS = 4000
CONNECT_SECONDS = 10.0
PER_HOST = 32
"""Connections to one host: a slow one must not take them all."""

TOTAL = 2000
DROP_SECONDS = 1.0
"""For a body that nobody wants to end by itself."""

RESOLVER_THREADS = 64
"""Threads for DNS alone: a tenant's slow name server must not hold the loop's default executor."""

RESOLVED_AT_ONCE = 8
"""Names of one tenant that are looked up at the same time, those that nobody waits for any more included; a name
server that never answers holds a thread for half a minute, and must not hold them all."""

ALLOW_HINT = "(GATEWAY_CALLBACK_ALLOW_PRIVATE allows it)"

_ODD = re.compile("[\x00-\x20\x7f\\\\\ud800-\udfff]")

_owner: ContextVar[int | None] = ContextVar("guarded_client_owner", default=None)
"""The tenant who named the address of the request (its `owner`)."""

Resolve = Callable[[str, int], list[str]]
"""Blocking: the numeric addresses of a name. OSError when there are none."""


class CallFailed(Exception):
    """A request without an answer. `reason` goes on from the name of what was called: "The page {reason}"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AddressRefused(CallFailed):
    """The address may not be called; nothing was sent."""


class TimedOut(CallFailed):
    """The whole answer did not come in time."""


class TooLarge(CallFailed):
    """The answer is larger than the bound; what was read of it is dropped."""


class Unreadable(CallFailed):
    """The answer is there and cannot be read."""


class ConnectionFailed(CallFailed):
    """No connection, or it broke; the request may or may not have arrived."""


@dataclass(frozen=True, slots=True)
class GuardedResponse:
    """`headers` has lower-case names; `content_type` is without its parameters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    content_type: str
    charset: str


def check_url(url: Any, *, allow_private: bool = False) -> str:
    """`url` when its writing is in order; AddressRefused else. Names are not resolved: each call does that."""
    if not isinstance(url, str) or not url or len(url) > MAX_URL_CHARACTERS:
        raise AddressRefused(f"must be an address of at most {MAX_URL_CHARACTERS} characters.")
    _checked(url, _is_allowed(allow_private))
    return url


class GuardedClient(Part):
    """One session per loop and per permission, so that no connection made under one is used under the other."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or _resolve
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, aiohttp.ClientSession]]
        self._sessions = WeakKeyDictionary()

    async def stop(self) -> None:
        """Closes the sessions of the running loop."""
        for session in self._sessions.pop(asyncio.get_running_loop(), {}).values():
            await session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,
        max_bytes: int,
        truncate: bool = False,
        head_only: bool = False,
        allow_private: bool = False,
        owner: int | None = None,
    ) -> GuardedResponse:
        """The answer, whatever its status; CallFailed when there is none. With `truncate` a larger one is cut, with
        `head_only` it is there with its head and has no body, however that is coded, breaks off or never ends."""
        allowed = _is_allowed(allow_private)
        checked = _checked(url, allowed)
        session = self._session(allowed)
        _owner.set(owner)
        try:
            async with (
                asyncio.timeout(timeout) as deadline,
                session.request(
                    method,
                    checked,
                    headers={"Accept-Encoding": "identity", **(headers or {}), **current_span().headers(checked.host)},
                    data=body,
                    allow_redirects=False,
                ) as response,
            ):
                if not head_only:
                    return await _answer(response, max_bytes, truncate)
                deadline.reschedule(None)
                await _drop_body(response, max_bytes)
                return _shown(response, b"")
        except aiohttp.ServerTimeoutError:
            raise ConnectionFailed(f"could not be reached within {CONNECT_SECONDS:g} seconds.") from None
        except TimeoutError:
            raise TimedOut(f"did not answer within {timeout:g} seconds.") from None
        except _Refused as refused:
            raise AddressRefused(str(refused)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(cause := getattr(error, "os_error", error.__cause__), _Refused):
                raise AddressRefused(str(cause)) from None
            raise ConnectionFailed("could not be reached, or broke off.") from None

    def _session(self, allowed: bool) -> aiohttp.ClientSession:
        sessions = self._sessions.setdefault(asyncio.get_running_loop(), {})
        if allowed not in sessions:
            sessions[allowed] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_Resolver(self._resolve, allowed),
                    use_dns_cache=False,
                    limit=TOTAL,
                    limit_per_host=PER_HOST,
                    socket_factory=_socket_factory(allowed),
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return sessions[allowed]


class _Refused(OSError):
    """A refusal from inside the connector, which passes on nothing but OSError."""


class _Resolver(AbstractResolver):
    """Resolves in threads of its own and answers only when every address may be called."""

    def __init__(self, resolve: Resolve, allowed: bool) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._slots: WeakValueDictionary[int | None, asyncio.Semaphore] = WeakValueDictionary()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        slot = self._slots.setdefault(_owner.get(), asyncio.Semaphore(RESOLVED_AT_ONCE))
        await slot.acquire()
        asking = asyncio.get_running_loop().run_in_executor(_resolvers, self._resolve, host, port)
        asking.add_done_callback(partial(_asked, slot))
        # Who gives up waiting leaves the thread where it is.
        found = await asyncio.shield(asking)
        for address in found:
            _address_allowed(address, self._allowed)
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
        """Nothing: the threads are the process's."""


_resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="gateway-dns")


def _asked(slot: asyncio.Semaphore, asking: asyncio.Future[list[str]]) -> None:
    slot.release()
    if not asking.cancelled():
        asking.exception()  # looked at, where nobody waits for it any more


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _socket_factory(allowed: bool) -> Callable[[Any], socket.socket]:
    def make(info: Any) -> socket.socket:
        # The last look, at the address that is connected to, however it came here.
        _address_allowed(info[4][0], allowed)
        return socket.socket(family=info[0], type=info[1], proto=info[2])

    return make


def _address_allowed(address: str, allowed: bool) -> None:
    parsed = addresses.parse(address)
    if parsed is None or not (allowed or addresses.is_public(parsed)):
        raise _Refused(f"leads to an address that is not public {ALLOW_HINT}.")


def _is_allowed(allow_private: bool) -> bool:
    return allow_private or bool(settings.GATEWAY_CALLBACK_ALLOW_PRIVATE)


def _checked(text: str, allowed: bool) -> URL:
    """The address as it will be used; what is looked at here is the very object that is connected to."""
    if _ODD.search(text):
        raise AddressRefused("has white space, control characters, surrogates or a backslash in its address.")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise AddressRefused("has no valid address.") from None
    if url.scheme not in ("https", "http") or not host or port is None or port == 0:
        raise AddressRefused("must have an http or https address with a host.")
    if url.user is not None or url.password is not None:
        raise AddressRefused("must have an address without a user and password.")
    if url.scheme == "http" and not allowed:
        raise AddressRefused(f"must have an https address {ALLOW_HINT}.")
    try:
        address = addresses.parse(host)
    except ValueError:
        raise AddressRefused("has a host that is a number, not a name or a canonical address.") from None
    if not allowed and (_is_local_name(host) if address is None else not addresses.is_public(address)):
        raise AddressRefused(f"has an address that is not public {ALLOW_HINT}.")
    return url


def _is_local_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith((".localhost", ".local", ".internal"))


async def _answer(response: aiohttp.ClientResponse, max_bytes: int, truncate: bool) -> GuardedResponse:
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        response.close()
        if response.ok:
            # Not a ConnectionFailed, after which a callback would be made again: this one was answered.
            raise Unreadable("answered in a compressed form that was not asked for.")
        return _shown(response, b"")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            response.close()
            if truncate:
                break
            raise TooLarge(f"answered with more than {max_bytes} bytes.")
    return _shown(response, b"".join(chunks)[:max_bytes])


async def _drop_body(response: aiohttp.ClientResponse, max_bytes: int) -> None:
    """Reads a short body away, so that the connection can be used again; any other ends the connection."""
    size = 0
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(DROP_SECONDS):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > max_bytes:
                    break
    if not response.content.at_eof():
        response.close()


def _shown(response: aiohttp.ClientResponse, body: bytes) -> GuardedResponse:
    return GuardedResponse(
        status=response.status,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
        content_type=response.content_type,
        charset=response.charset or "utf-8",
    )


CLIENT = process_wide(GuardedClient())
"""The process's client; a part of it (`core_app.lifecycle`)."""
