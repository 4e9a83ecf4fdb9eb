"""HTTP client for tenant-supplied URLs (callbacks, webhooks, pages, attachments). It refuses private addresses (SSRF
protection).

https only and public addresses only, unless private ones are allowed (GATEWAY_CALLBACK_ALLOW_PRIVATE or the tenant's
setting). A name is resolved once per connection, every resolved address is checked, and the socket connects to a
checked address only, so DNS rebinding gains nothing. No redirects, proxies, cookies or compression; time and size are
bounded. Any port is allowed: what listens on a public address is the affair of its operator. A tenant's slow host holds
that tenant's connections only. Every failure tells whether the request may have been sent (`CallFailed.sent`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import aiohttp
from django.conf import settings
from yarl import URL

from core_app import addresses
from core_app.guarded_connector import Call, Connector, Resolve, Resolver, current_call, resolve_name, socket_factory
from core_app.lifecycle import Part, process_wide
from core_app.tracing import current_span

MAX_URL_CHARACTERS = 4000
CONNECT_SECONDS = 10.0
TOTAL = 2000
"""Connections of one process. A tenant has a share of them (GATEWAY_CONNECTIONS_PER_TENANT)."""

DROP_SECONDS = 1.0
"""The time that an unwanted body gets to end by itself, so that its connection can be used again."""

ALLOW_HINT = "(GATEWAY_CALLBACK_ALLOW_PRIVATE allows it)"
UNREACHED = {
    False: "could not be reached at a public address (GATEWAY_CALLBACK_ALLOW_PRIVATE allows others).",
    True: "could not be reached.",
}
"""By whether private addresses are allowed."""

_ODD = re.compile("[\x00-\x20\x7f\\\\\ud800-\udfff]")


class CallFailed(Exception):
    """A request without a usable response. `reason` completes a sentence that begins with its target: "The page
    {reason}". `sent` is False when it is certain that nothing of the request was sent."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class AddressRefused(CallFailed):
    """The address may not be called, as it is written; nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class TimedOut(CallFailed):
    """The whole response did not come in time, or the request could not even begin in time (not `sent`)."""


class TooLarge(CallFailed):
    """The response is larger than the limit; the part that was read is dropped."""


class Unreadable(CallFailed):
    """The response is there and cannot be read."""


class ConnectionFailed(CallFailed):
    """No connection (not `sent`: a name without addresses or with one that may not be called, refused, time-out), or
    it broke: the request may have arrived."""


@dataclass(frozen=True, slots=True)
class GuardedResponse:
    """A response as it was read: `headers` has lower-case names, `content_type` no parameters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    content_type: str
    charset: str


def check_url(url: Any, *, allow_private: bool = False) -> str:
    """Returns `url` when it is well-formed and may be called; raises AddressRefused otherwise. Names are not resolved:
    each request does that."""
    if not isinstance(url, str) or not url or len(url) > MAX_URL_CHARACTERS:
        raise AddressRefused(f"must be an address of at most {MAX_URL_CHARACTERS} characters.")
    _parse_url(url, _is_allowed(allow_private))
    return url


class StreamedResponse:
    """A response whose body is read as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, first_byte_at: float, idle_seconds: float) -> None:
        self.status = response.status
        self.content_type = response.content_type
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._first_byte_at = first_byte_at
        self._idle_seconds = idle_seconds

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body in pieces of any size. Raises TimedOut when nothing comes for too long, and
        ConnectionFailed when the body breaks off."""
        if self._response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unreadable("answered in a compressed form that was not asked for.", sent=True)
        seconds = max(0.0, self._first_byte_at - asyncio.get_running_loop().time())
        while True:
            try:
                async with asyncio.timeout(seconds):
                    chunk = await self._response.content.readany()
            except TimeoutError:
                raise TimedOut("stopped answering.", sent=True) from None
            except (aiohttp.ClientError, OSError, ValueError):
                raise ConnectionFailed("broke off before it had answered.", sent=True) from None
            if not chunk:
                return
            seconds = self._idle_seconds
            yield chunk


class GuardedClient(Part):
    """Sends requests that `check_url` permits, and reads their responses within limits.

    There is one session per loop and per permission, so that a connection made where private addresses are allowed is
    never used where they are not.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or resolve_name
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, aiohttp.ClientSession]]
        self._sessions = WeakKeyDictionary()
        self._per_host: WeakValueDictionary[tuple[int | None, URL], asyncio.Semaphore] = WeakValueDictionary()
        self._per_owner: WeakValueDictionary[int | None, asyncio.Semaphore] = WeakValueDictionary()

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
        """Returns the response, whatever its status; raises CallFailed without one. `truncate` cuts a larger body
        instead of failing. `head_only` returns as soon as the head is there, with an empty body, even when the body is
        compressed, breaks off or never ends. `owner` is the tenant that supplied the URL."""
        allowed = _is_allowed(allow_private)
        checked = _parse_url(url, allowed)
        session = self._session(allowed)
        call = Call(owner)
        current_call.set(call)
        try:
            async with (
                asyncio.timeout(timeout) as deadline,
                self._host_slot(owner, checked),
                self._owner_slot(owner),
                session.request(
                    method,
                    checked,
                    headers={"Accept-Encoding": "identity", **(headers or {}), **current_span().headers(checked.host)},
                    data=body,
                    allow_redirects=False,
                ) as response,
            ):
                if not head_only:
                    return await _read_response(response, max_bytes, truncate)
                deadline.reschedule(None)
                await _drop_body(response, max_bytes)
                return _guarded_response(response, b"")
        except aiohttp.ServerTimeoutError:
            reason = f"could not be reached within {CONNECT_SECONDS:g} seconds."
            raise ConnectionFailed(reason, sent=call.connected) from None
        except TimeoutError:
            raise TimedOut(f"did not answer within {timeout:g} seconds.", sent=call.connected) from None
        except (aiohttp.ClientError, OSError, ValueError):
            # A name that leads inside gets the sentence of one that nobody has: the difference would tell tenants
            # which names there are in the operator's network.
            reason = "broke off before it had answered." if call.connected else UNREACHED[allowed]
            raise ConnectionFailed(reason, sent=call.connected) from None

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        first_byte_seconds: float,
        idle_seconds: float,
        allow_private: bool = False,
        owner: int | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """Opens a response whose body may take as long as its bytes keep coming; the connection is closed at the end of
        the block. Raises CallFailed. For the few addresses of long streams, whose number the caller limits."""
        allowed = _is_allowed(allow_private)
        checked = _parse_url(url, allowed)
        call = Call(owner)
        current_call.set(call)
        first_byte_at = asyncio.get_running_loop().time() + first_byte_seconds
        try:
            async with asyncio.timeout_at(first_byte_at):
                response = await self._session(allowed).request(
                    method,
                    checked,
                    headers={"Accept-Encoding": "identity", **headers, **current_span().headers(checked.host)},
                    data=body or None,
                    allow_redirects=False,
                )
        except aiohttp.ServerTimeoutError:
            reason = f"could not be reached within {CONNECT_SECONDS:g} seconds."
            raise ConnectionFailed(reason, sent=call.connected) from None
        except TimeoutError:
            raise TimedOut(f"did not answer within {first_byte_seconds:g} seconds.", sent=call.connected) from None
        except (aiohttp.ClientError, OSError, ValueError):
            reason = "broke off before it had answered." if call.connected else UNREACHED[allowed]
            raise ConnectionFailed(reason, sent=call.connected) from None
        try:
            yield StreamedResponse(response, first_byte_at, idle_seconds)
        finally:
            response.close()

    def _host_slot(self, owner: int | None, url: URL) -> asyncio.Semaphore:
        """Returns the tenant's connections to the host. Taken first, so that requests that wait for a slow host take
        nothing from the tenant's others."""
        key = (owner, url.origin())
        return self._per_host.setdefault(key, asyncio.Semaphore(settings.GATEWAY_CONNECTIONS_PER_HOST))

    def _owner_slot(self, owner: int | None) -> asyncio.Semaphore:
        return self._per_owner.setdefault(owner, asyncio.Semaphore(settings.GATEWAY_CONNECTIONS_PER_TENANT))

    def _session(self, allowed: bool) -> aiohttp.ClientSession:
        sessions = self._sessions.setdefault(asyncio.get_running_loop(), {})
        if allowed not in sessions:
            sessions[allowed] = aiohttp.ClientSession(
                connector=Connector(
                    resolver=Resolver(self._resolve, allowed),
                    use_dns_cache=False,
                    limit=TOTAL,
                    socket_factory=socket_factory(allowed),
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return sessions[allowed]


def _is_allowed(allow_private: bool) -> bool:
    return allow_private or bool(settings.GATEWAY_CALLBACK_ALLOW_PRIVATE)


def _parse_url(text: str, allowed: bool) -> URL:
    """Parses and checks a URL. The checked object is the one that the request uses, so nothing parses it again."""
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


async def _read_response(response: aiohttp.ClientResponse, max_bytes: int, truncate: bool) -> GuardedResponse:
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        response.close()
        if response.ok:
            # Not a ConnectionFailed, after which a callback is repeated: this one reached its target.
            raise Unreadable("answered in a compressed form that was not asked for.", sent=True)
        return _guarded_response(response, b"")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            response.close()
            if truncate:
                break
            raise TooLarge(f"answered with more than {max_bytes} bytes.", sent=True)
    return _guarded_response(response, b"".join(chunks)[:max_bytes])


async def _drop_body(response: aiohttp.ClientResponse, max_bytes: int) -> None:
    """Drains a short body, so that the connection can be used again; closes the connection otherwise."""
    size = 0
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(DROP_SECONDS):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > max_bytes:
                    break
    if not response.content.at_eof():
        response.close()


def _guarded_response(response: aiohttp.ClientResponse, body: bytes) -> GuardedResponse:
    return GuardedResponse(
        status=response.status,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
        content_type=response.content_type,
        charset=response.charset or "utf-8",
    )


CLIENT = process_wide(GuardedClient())
"""Process-wide instance, started by `Gateway`."""
