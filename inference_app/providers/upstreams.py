"""Connections to providers: one session with one pool per event loop, and the headers of each provider.

No proxies or credentials of the environment, no cookies, no redirects, no compression: the bytes of a response pass
unchanged. Only this module puts keys into headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from weakref import WeakKeyDictionary

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from core_app.lifecycle import Part, process_wide
from core_app.timeouts import running_loop
from inference_app.catalogue.config import ModelsConfig, ProviderEntry, Wire
from inference_app.catalogue.resolution import Candidate
from inference_app.request_kinds import RequestKind, upstream_url

KEEPALIVE_SECONDS = 30.0
DNS_SECONDS = 60
LARGE_BODY = 1024 * 1024
"""The limit for bodies given to aiohttp as bytes; it warns of larger ones, which it would copy in one step."""

ANTHROPIC_VERSION = "2023-06-01"
FORWARDED_HEADERS = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta"})
"""The client's headers that a provider of its wire receives; all others stay here."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One address of one provider, with everything that a request needs beside its body."""

    name: str
    provider: ProviderEntry
    wire: Wire
    url: URL
    headers: CIMultiDict[str]
    timeout: aiohttp.ClientTimeout
    """The limit for connecting only, because aiohttp would set a timer for every piece of a response."""

    def request_headers(self, forwarded_headers: Mapping[str, str]) -> CIMultiDict[str]:
        """Returns the headers of a request; `forwarded_headers` are the client's own, of this wire."""
        if not forwarded_headers:
            return self.headers
        headers = self.headers.copy()
        headers.update(forwarded_headers)
        return headers


class Upstreams(Part):
    """The sessions and addresses of all providers, a part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._latest: tuple[asyncio.AbstractEventLoop | None, aiohttp.ClientSession | None] = (None, None)
        self._config: ModelsConfig | None = None
        self._made: dict[tuple[str, RequestKind, str | None], Upstream] = {}

    async def stop(self) -> None:
        """Closes the running loop's connections."""
        self._latest = (None, None)
        if session := self._sessions.pop(asyncio.get_running_loop(), None):
            await session.close()

    def session(self) -> aiohttp.ClientSession:
        """Returns the session of the running loop."""
        loop = running_loop()
        latest, session = self._latest
        if latest is loop and session is not None and not session.closed:
            return session
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = _session()
        self._latest = (loop, session)
        return session

    def upstream(self, config: ModelsConfig, candidate: Candidate, kind: RequestKind, wire: Wire) -> Upstream:
        """Returns the candidate's address for requests of `kind` on `wire`."""
        if config is not self._config:
            self._made.clear()
            self._config = config
        provider = config.providers[candidate.provider]
        key = provider.key
        known = self._made.get((candidate.provider, kind, key))
        if known is None:
            known = self._made[(candidate.provider, kind, key)] = _upstream(candidate.provider, provider, kind, wire)
        return known


def request_payload(body: bytes) -> bytes | BytesIO:
    """Returns a body in the form that aiohttp sends without a copy."""
    return body if len(body) < LARGE_BODY else BytesIO(body)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, limit_per_host=0, ttl_dns_cache=DNS_SECONDS, keepalive_timeout=KEEPALIVE_SECONDS
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


def _upstream(name: str, provider: ProviderEntry, kind: RequestKind, wire: Wire) -> Upstream:
    headers = identity_headers(provider, wire)
    headers["Content-Type"] = "application/json"
    return Upstream(
        name=name,
        provider=provider,
        wire=wire,
        url=URL(upstream_url(provider.base_url, kind)),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=provider.timeout.connect),
    )


def identity_headers(provider: ProviderEntry, wire: Wire) -> CIMultiDict[str]:
    """Returns the headers with the provider's key, and those of its configuration."""
    headers: CIMultiDict[str] = CIMultiDict({"User-Agent": "agent-gateway", "Accept-Encoding": "identity"})
    if wire == "anthropic":
        headers["anthropic-version"] = ANTHROPIC_VERSION
    if provider.key is not None and wire == "anthropic":
        headers["x-api-key"] = provider.key
    elif provider.key is not None:
        headers["Authorization"] = f"Bearer {provider.key}"
    headers.update(provider.headers)
    return headers


UPSTREAMS = process_wide(Upstreams())
"""Process-wide instance, started by `Gateway`."""
