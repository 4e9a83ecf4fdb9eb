"""One attempt at one target: the request is sent and the response read up to its first byte, or AttemptFailed raised.

A complete response is read and checked before it counts. Of a stream the first events are awaited, so that nothing has
gone to the client while another target may still be asked. A provider's error body goes to the log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import aiohttp
import msgspec
import structlog

from core_app.timeouts import Deadline, IdleTimer, running_loop
from inference_app.errors import ProviderRefusal
from inference_app.providers.retry_policy import CALLER_FAULT_STATUSES, FAILOVER_FIRST_BYTE, Fault, retry_after_seconds
from inference_app.providers.upstreams import UPSTREAMS, Upstream, request_payload
from inference_app.relay.response_check import read_response
from inference_app.relay.stream import StreamObserver, starts_like_events
from inference_app.spend.usage import Usage

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
LOGGED_CHARACTERS = 2000
COMMENTS_SECONDS = FAILOVER_FIRST_BYTE
"""The time after which comments of a stream are passed to the client; with another target left, the limit for the
first byte ends the attempt before."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
"""A provider's error code that may be shown to a client."""
_EVENT = re.compile(rb"(?:\A|[\r\n]|\xef\xbb\xbf)data:")

logger = structlog.get_logger("gateway.relay")


@dataclass(slots=True)
class UpstreamResponse:
    """A response that has started. `first` are the bytes for the client so far. `silence` is the timer that ends a
    stream from which nothing comes for too long; it and `observer` are None for a complete response."""

    response: aiohttp.ClientResponse
    first: bytes
    observer: StreamObserver | None
    usage: Usage | None
    silence: IdleTimer | None

    def close(self) -> None:
        """Closes the provider's connection, unless the response was read to its end."""
        if self.silence is not None:
            self.silence.close()
        self.response.close()


class AttemptFailed(Exception):
    """A failed attempt. `refusal` is set if the request itself is at fault."""

    def __init__(self, fault: Fault, refusal: ProviderRefusal | None = None) -> None:
        super().__init__(fault.code)
        self.fault = fault
        self.refusal = refusal


async def make_attempt(
    upstream: Upstream,
    body: bytes,
    *,
    headers: Mapping[str, str],
    observer: StreamObserver | None,
    seconds: float,
) -> UpstreamResponse:
    """Sends the request once; `observer` is for a stream. Raises AttemptFailed."""
    try:
        async with Deadline(seconds):
            return await _send(upstream, body, headers, observer)
    except aiohttp.ServerDisconnectedError:
        raise AttemptFailed(Fault("disconnected", "disconnected")) from None
    except aiohttp.SocketTimeoutError:
        raise AttemptFailed(Fault("timeout", "timeout")) from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise AttemptFailed(Fault("connect", "connection_failed")) from None
    except TimeoutError:
        raise AttemptFailed(Fault("timeout", "timeout")) from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise AttemptFailed(Fault("disconnected", "connection_broken")) from None


async def _send(
    upstream: Upstream, body: bytes, headers: Mapping[str, str], observer: StreamObserver | None
) -> UpstreamResponse:
    response = await UPSTREAMS.session().post(
        upstream.url,
        data=request_payload(body),
        headers=upstream.request_headers(headers),
        allow_redirects=False,
        timeout=upstream.timeout,
    )
    opened: UpstreamResponse | None = None
    try:
        if response.status != 200:
            raise await _read_error(upstream, response)
        opened = await (
            _read_whole(upstream, response) if observer is None else _open_stream(upstream, response, observer)
        )
    finally:
        if opened is None:
            response.close()
    return opened


async def _read_whole(upstream: Upstream, response: aiohttp.ClientResponse) -> UpstreamResponse:
    body = await _read(response, MAX_ANSWER_BYTES)
    if len(body) > MAX_ANSWER_BYTES:
        raise AttemptFailed(Fault("garbage", "answer_too_large"))
    try:
        good, usage = read_response(body, upstream.wire)
    except ValueError:
        _log_answer("provider_answered_no_json", upstream, body)
        raise AttemptFailed(Fault("garbage", "invalid_answer")) from None
    if not good:
        _log_answer("provider_answered_an_error", upstream, body)
        raise AttemptFailed(Fault("garbage", error_code(body) or "invalid_answer"))
    return UpstreamResponse(response, body, None, usage, None)


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Reads the body to its end, or until it is longer than `limit`."""
    if response.content_length is not None and response.content_length <= limit:
        return await response.read()
    chunks, size = [], 0
    while size <= limit and (data := await response.content.readany()):
        chunks.append(data)
        size += len(data)
    return b"".join(chunks)


async def _open_stream(
    upstream: Upstream, response: aiohttp.ClientResponse, observer: StreamObserver
) -> UpstreamResponse:
    """Reads up to the first event that a client can use. Comments do not count: some providers send them while they
    search for capacity. After a while they pass, so that the client sees that its slow response is still coming."""
    first, looked = b"", False
    passing = running_loop().time() + COMMENTS_SECONDS
    while not first:
        data = await response.content.readany()
        if data and not looked:
            looked = True
            if not starts_like_events(data):
                _log_answer("provider_answered_no_stream", upstream, data)
                raise AttemptFailed(Fault("garbage", "invalid_stream"))
        if not data:
            first = observer.finish()
            if not first and observer.failed is None:
                raise AttemptFailed(Fault("disconnected", "stream_ended"))
        else:
            first = observer.feed(data)
        if not _EVENT.search(first) and running_loop().time() < passing:
            first = b""
        if observer.failed is not None and not first:
            logger.warning(
                "provider_failed_in_its_stream",
                provider=upstream.name,
                body=redacted_excerpt(observer.failed, upstream.provider.key),
            )
            raise AttemptFailed(Fault("stream_error", error_code(observer.failed) or "stream_error"))
    silent = partial(response.content.set_exception, aiohttp.SocketTimeoutError("The provider is silent."))
    return UpstreamResponse(response, first, observer, None, IdleTimer(upstream.provider.timeout.idle, silent))


async def _read_error(upstream: Upstream, response: aiohttp.ClientResponse) -> AttemptFailed:
    """Returns the error for a response with another status than 200."""
    status = response.status
    body, key = await _read(response, MAX_ERROR_BYTES), upstream.provider.key
    if key:
        body = body.replace(key.encode(), "…".encode())
    logger.warning("provider_refused", provider=upstream.name, status=status, body=redacted_excerpt(body, key))
    provider_error = _parse_error(body)
    named = provider_error and (provider_error.code or (provider_error.type if upstream.wire == "anthropic" else None))
    code = named if named and _CODE.match(named) else str(status)
    fault = Fault("status", code, status, retry_after_seconds(response.headers.get("Retry-After")))
    if status in CALLER_FAULT_STATUSES:
        return AttemptFailed(fault, _provider_refusal(status, provider_error))
    return AttemptFailed(fault)


def _provider_refusal(status: int, error: ProviderError | None) -> ProviderRefusal:
    message = f"The provider refused the request with status {status}."
    if error is None:
        return ProviderRefusal(status, message)
    return ProviderRefusal(status, error.message or message, code=error.code, type=error.type, field=error.param)


def _log_answer(event: str, upstream: Upstream, body: bytes) -> None:
    logger.warning(event, provider=upstream.name, body=redacted_excerpt(body, upstream.provider.key))


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A provider's error object. Values that are not short texts are None."""

    message: str | None
    type: str | None
    code: str | None
    param: str | None


def _parse_error(body: bytes) -> ProviderError | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    error = _error_of(document) if isinstance(document, dict) else None
    if isinstance(error, str):
        return ProviderError(error[:LOGGED_CHARACTERS], None, None, None)
    if not isinstance(error, dict):
        return None
    message = error.get("message")
    return ProviderError(
        message[:LOGGED_CHARACTERS] if isinstance(message, str) else None,
        _word(error.get("type")),
        _word(error.get("code")),
        _word(error.get("param")),
    )


def _error_of(document: Mapping[str, object]) -> object:
    """Returns the error object of any wire; an `error` event of the Responses API is one itself."""
    response = document.get("response")
    if document.get("error") or not isinstance(response, dict):
        return document.get("error") or (document if document.get("type") == "error" else None)
    return response.get("error")


def error_code(event: bytes) -> str | None:
    """Returns the code, else the type, in a provider's error event, if it is a word and no sentence."""
    provider_error = _parse_error(event[event.find(b"{") :].strip() if b"{" in event else b"")
    named = None if provider_error is None else provider_error.code or provider_error.type
    return named if named and _CODE.match(named) else None


def _word(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        # OpenRouter's codes are HTTP statuses.
        return str(value)[:100]
    return value[:100] if isinstance(value, str) and value else None


def redacted_excerpt(body: bytes, key: str | None) -> str:
    """Returns the start of a body for the log, without the provider's key, which some repeat in their errors."""
    text = body[: 2 * LOGGED_CHARACTERS].decode("utf-8", "replace")
    return (text.replace(key, "…") if key else text)[:LOGGED_CHARACTERS]
