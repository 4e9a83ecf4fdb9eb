"""HTTP requests to the gateway, repeated where that is safe.

A request that may be repeated is: a GET, a change that sets a value, a decision (deciding alike twice is one decision),
and a POST with an `Idempotency-Key`. It survives a restart of the gateway. Others are repeated only when it is certain
that nothing was done: the connection was not made, or the gateway refused with 429.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gateway_client.errors import APIError, ConnectionFailed, GatewayError, error_from_response

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

REPEATABLE_STATUSES = frozenset({429, 502, 503, 504})
FINAL_CODES = frozenset({"queue_full", "NO_AGENT_AVAILABLE"})
"""Refusals that stay, whatever their status says: a person has to do something first."""
IN_PROGRESS = "The first request with this Idempotency-Key is still being answered"
"""The refusal of a repeated request whose first process died in the middle; it lasts 90 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Limits in seconds; every wait of the client ends with one of them."""

    connect: float = 10.0
    request: float = 60.0
    """Until a request is answered."""
    retry: float = 120.0
    """How long a request is repeated. An unfinished `Idempotency-Key` of a killed process blocks for 90 s."""
    idle: float = 45.0
    """How long a stream may be silent: the gateway sends a heartbeat every 15 s."""
    resume: float = 300.0
    """How long a stream is reconnected without getting anything."""
    first_pause: float = 0.25
    longest_pause: float = 10.0


class Backoff:
    """Pauses that double up to a limit, with jitter, until `seconds` have passed since the first one after `reset`."""

    def __init__(self, timeouts: Timeouts, seconds: float) -> None:
        self._timeouts = timeouts
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """Starts anew, after progress."""
        self._pause = self._timeouts.first_pause
        self._until: float | None = None

    async def wait(self, error: Exception | None, at_least: float | None = None) -> None:
        """Sleeps before the next attempt, at least as long as the gateway asked for. Raises the error, or
        ConnectionFailed for one of the connection, when the time is over before."""
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311  (spread, not secrecy)
        pause = max(pause, at_least or 0.0)
        self._pause = min(2 * self._pause, self._timeouts.longest_pause)
        if self._until is None:
            self._until = time.monotonic() + self._seconds
        if time.monotonic() + pause > self._until:
            if isinstance(error, GatewayError):
                raise error
            reason = f"{type(error).__name__}: {error}" if error else "the stream ends without an event"
            raise ConnectionFailed(f"The gateway was not reached within {self._seconds:g} s ({reason}).") from error
        await asyncio.sleep(pause)


class Transport:
    """The connections to one gateway with one key."""

    def __init__(self, base_url: str, api_key: str, timeouts: Timeouts) -> None:
        # Loaded here: with click and rich installed, httpx loads them, and they take longer than all of this package.
        self._httpx = importlib.import_module("httpx")
        self.base_url = base_url.rstrip("/")
        self.headers = {"X-API-Key": api_key, "User-Agent": "agent-gateway-client"}
        self.timeouts = timeouts
        limits = self._httpx.Limits(max_connections=None, max_keepalive_connections=20)
        timeout = self._httpx.Timeout(timeouts.request, connect=timeouts.connect)
        self._http: httpx.AsyncClient = self._httpx.AsyncClient(headers=self.headers, timeout=timeout, limits=limits)

    async def aclose(self) -> None:
        await self._http.aclose()

    @property
    def transport_error(self) -> type[Exception]:
        """The class of everything that breaks a connection."""
        error: type[Exception] = self._httpx.TransportError
        return error

    async def get(self, path: str, kind: type[T], **query: object) -> T:
        return decode(await self.send("GET", path, query=query), kind)

    async def create(self, path: str, body: Mapping[str, object], kind: type[T], key: str | None = None) -> T:
        """Sends a POST that creates something, once however often it is repeated."""
        return decode(await self.send("POST", path, body, key=key or uuid.uuid4().hex), kind)

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
        repeat: bool = True,
    ) -> bytes:
        """Sends a request with a JSON body and returns the body of its 2xx. Raises APIError, or ConnectionFailed."""
        content = None if body is None else (msgspec.json.encode(body), "application/json")
        response = await self.exchange(method, path, content, query=query, key=key, repeat=repeat)
        answer: bytes = response.content
        return answer

    async def exchange(
        self,
        method: str,
        path: str,
        body: tuple[bytes, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
        repeat: bool = True,
    ) -> Any:
        """Sends a request, its body with a media type, and returns the 2xx with `content` and `headers`."""
        headers = {"Idempotency-Key": key} if key else {}
        content, headers["Content-Type"] = body or (None, "")
        if content is None:
            del headers["Content-Type"]
        wanted = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        backoff = Backoff(self.timeouts, self.timeouts.retry)
        while True:
            try:
                response = await self._http.request(
                    method, self.base_url + path, params=wanted, content=content, headers=headers
                )
            except self.transport_error as error:
                never_sent = isinstance(error, (self._httpx.ConnectError, self._httpx.ConnectTimeout))
                if not (repeat or never_sent):
                    raise ConnectionFailed(f"{method} {path} broke off, and may have been performed.") from error
                await backoff.wait(error)
                continue
            if response.is_success:
                return response
            refusal = error_from_response(response.status_code, _json(response.content), _retry_after(response.headers))
            if not self._is_passing(refusal, key=key, repeat=repeat):
                raise refusal
            await backoff.wait(refusal, refusal.retry_after)

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> AsyncIterator[Any]:
        """Opens an SSE response; yields None for a stream that will never have an event (204). Raises APIError."""
        timeout = self._httpx.Timeout(self.timeouts.idle, connect=self.timeouts.connect)
        accepted = {"Accept": "text/event-stream", **headers}
        address = self.base_url + path
        async with self._http.stream("GET", address, params=query, headers=accepted, timeout=timeout) as response:
            if response.status_code == 204:
                yield None
            elif response.status_code == 200:
                yield response.aiter_bytes()
            else:
                body = _json(await response.aread())
                raise error_from_response(response.status_code, body, _retry_after(response.headers))

    @staticmethod
    def _is_passing(refusal: APIError, *, key: str | None, repeat: bool) -> bool:
        if refusal.code in FINAL_CODES:
            return False
        if refusal.status == 429:
            return True
        if key and refusal.status == 409:
            return refusal.message.startswith(IN_PROGRESS)
        return repeat and refusal.status in REPEATABLE_STATUSES


def decode(body: bytes, kind: type[T]) -> T:
    """Decodes a response. Raises GatewayError when it is not what the protocol says, as from a captive proxy."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise GatewayError(f"The response is not the gateway's: {error}") from error


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
