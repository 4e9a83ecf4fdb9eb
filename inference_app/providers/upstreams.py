"""Connections to providers, with one pool per event loop, and the headers of each provider.

Relayed requests use the HTTP/1.1 client of the gateway, which costs a fifth of aiohttp's; reports and health checks,
which are rare, use aiohttp's. No proxies or credentials of the environment, no cookies, no redirects, no compression:
the bytes of a response pass unchanged. Only this module puts keys into headers.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
from multidict import CIMultiDict

from core_app.http1 import Client, Target
from core_app.lifecycle import Part, process_wide
from core_app.timeouts import running_loop
from inference_app.catalogue.config import ModelsConfig, ProviderEntry, Wire
from inference_app.catalogue.resolution import Candidate
from inference_app.request_kinds import RequestKind, upstream_url

KEEPALIVE_SECONDS = 30.0
DNS_SECONDS = 60
MAX_TARGETS = 64
"""Combinations of forwarded headers whose requests are kept prepared: clients of one kind all send the same."""

ANTHROPIC_VERSION = "2023-06-01"
FORWARDED_HEADERS = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta"})
"""The client's headers that a provider of its wire receives; all others stay here."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One address of one provider, with everything that a request needs beside its body."""

    name: str
    provider: ProviderEntry
    wire: Wire
    url: str
    headers: CIMultiDict[str]
    _targets: OrderedDict[tuple[tuple[str, str], ...], Target] = field(default_factory=OrderedDict)

    @property
    def host(self) -> str | None:
        """The host of the address."""
        return urlsplit(self.url).hostname

    def target(self, forwarded_headers: Mapping[str, str]) -> Target:
        """Returns the target of a request; `forwarded_headers` are the client's own, of this wire, which replace those
        of the configuration. ValueError for one that cannot be sent."""
        forwarded = tuple(forwarded_headers.items())
        known = self._targets.get(forwarded)
        if known is None:
            headers = self.headers.copy()
            headers.update(forwarded_headers)
            known = self._targets[forwarded] = Target.of(self.url, headers.items(), use_proxies=False)
            if len(self._targets) > MAX_TARGETS:
                self._targets.popitem(last=False)
        return known


class Upstreams(Part):
    """The sessions and addresses of all providers, a part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()
        self._latest: tuple[asyncio.AbstractEventLoop | None, Client | None] = (None, None)
        self._config: ModelsConfig | None = None
        self._made: dict[tuple[str, RequestKind, str | None], Upstream] = {}

    async def stop(self) -> None:
        """Closes the running loop's connections."""
        self._latest = (None, None)
        loop = asyncio.get_running_loop()
        if client := self._clients.pop(loop, None):
            client.close()
        if session := self._sessions.pop(loop, None):
            await session.close()

    def client(self) -> Client:
        """Returns the client of the running loop, for relayed requests."""
        loop = running_loop()
        latest, client = self._latest
        if latest is loop and client is not None and not client.closed:
            return client
        client = self._clients.get(loop)
        if client is None or client.closed:
            client = self._clients[loop] = Client()
        self._latest = (loop, client)
        return client

    def session(self) -> aiohttp.ClientSession:
        """Returns aiohttp's session of the running loop, for everything else."""
        loop = running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = _session()
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
        url=upstream_url(provider.base_url, kind),
        headers=headers,
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
