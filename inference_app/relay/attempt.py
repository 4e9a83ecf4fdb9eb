"""One attempt at one candidate: sent, and answered up to its first byte, or a fault that says what went wrong.

A whole answer is read and looked at before it counts; of a stream the first events are awaited, so that nothing has
gone to the client while another candidate may still be asked. A provider's error body goes to the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import msgspec
import structlog

from core_app.running import Deadline
from inference_app.relay.policy import CALLERS_FAULT, Fault, retry_after_seconds
from inference_app.relay.refusal import Refusal
from inference_app.relay.stream import StreamObserver, begins_like_events
from inference_app.relay.upstreams import UPSTREAMS, Upstream, payload
from inference_app.usage import Usage, usage_of_answer

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
LOGGED_CHARACTERS = 2000

_log = structlog.get_logger("gateway.relay")


@dataclass(slots=True)
class Opened:
    """An answer that has begun. `first` is what a client may have now; `body` is None for a stream."""

    response: aiohttp.ClientResponse
    first: bytes
    observer: StreamObserver | None
    usage: Usage | None


class Failed(Exception):
    """The attempt gave nothing. `refusal` is set where the request itself was at fault."""

    def __init__(self, fault: Fault, refusal: Refusal | None = None) -> None:
        super().__init__(fault.code)
        self.fault = fault
        self.refusal = refusal


async def attempt(
    upstream: Upstream,
    body: bytes,
    *,
    passed_on: Mapping[str, str],
    observer: StreamObserver | None,
    seconds: float,
) -> Opened:
    """Asks once; `observer` for a stream. Raises Failed."""
    try:
        async with Deadline(seconds):
            return await _asked(upstream, body, passed_on, observer)
    except aiohttp.ServerDisconnectedError:
        raise Failed(Fault("disconnected", "disconnected")) from None
    except aiohttp.SocketTimeoutError:
        raise Failed(Fault("timeout", "timeout")) from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise Failed(Fault("connect", "connection_failed")) from None
    except TimeoutError:
        raise Failed(Fault("timeout", "timeout")) from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise Failed(Fault("disconnected", "connection_broken")) from None


async def _asked(
    upstream: Upstream, body: bytes, passed_on: Mapping[str, str], observer: StreamObserver | None
) -> Opened:
    response = await UPSTREAMS.session().post(
        upstream.url,
        data=payload(body),
        headers=upstream.sent(passed_on),
        allow_redirects=False,
        timeout=upstream.timeout_whole if observer is None else upstream.timeout_streamed,
    )
    opened: Opened | None = None
    try:
        if response.status != 200:
            raise await _refused(upstream, response)
        opened = await (_whole(response) if observer is None else _begun(upstream, response, observer))
    finally:
        if opened is None:
            response.close()
    return opened


async def _whole(response: aiohttp.ClientResponse) -> Opened:
    body = await _read(response, MAX_ANSWER_BYTES)
    if len(body) > MAX_ANSWER_BYTES:
        raise Failed(Fault("garbage", "answer_too_large"))
    try:
        return Opened(response, body, None, usage_of_answer(body))
    except ValueError:
        _log.warning("provider answered no JSON", body=shown(body))
        raise Failed(Fault("garbage", "invalid_answer")) from None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, read until it is over or longer than `limit`."""
    if response.content_length is not None and response.content_length <= limit:
        return await response.read()
    chunks, size = [], 0
    while size <= limit and (data := await response.content.readany()):
        chunks.append(data)
        size += len(data)
    return b"".join(chunks)


async def _begun(upstream: Upstream, response: aiohttp.ClientResponse, observer: StreamObserver) -> Opened:
    """Up to the first event that a client can use."""
    first, looked = b"", False
    while not first:
        data = await response.content.readany()
        if data and not looked:
            looked = True
            if not begins_like_events(data):
                _log.warning("provider answered no stream", provider=upstream.name, body=shown(data))
                raise Failed(Fault("garbage", "invalid_stream"))
        if not data:
            first = observer.finish()
            if not first:
                raise Failed(Fault("disconnected", "stream_ended"))
            break
        first = observer.feed(data)
        if observer.failed is not None and not first:
            _log.warning("provider failed in its stream", provider=upstream.name, body=shown(observer.failed))
            raise Failed(Fault("stream_error", error_code(observer.failed) or "stream_error"))
    return Opened(response, first, observer, None)


async def _refused(upstream: Upstream, response: aiohttp.ClientResponse) -> Failed:
    """What an answer with another status than 200 means."""
    status = response.status
    body = await _read(response, MAX_ERROR_BYTES)
    _log.warning("provider refused", provider=upstream.name, status=status, body=shown(body))
    told = _told(body)
    code = (told and (told.code or (told.type if upstream.wire == "anthropic" else None))) or str(status)
    fault = Fault("status", code, status, retry_after_seconds(response.headers.get("Retry-After")))
    if status in CALLERS_FAULT:
        return Failed(fault, _handed_on(upstream, status, told))
    return Failed(fault)


def _handed_on(upstream: Upstream, status: int, told: _Told | None) -> Refusal:
    message = (told.message if told else None) or f"The provider refused the request with status {status}."
    if upstream.provider.key:
        message = message.replace(upstream.provider.key, "…")
    code = told.code if told else None
    return Refusal(status, code, message, told.param if told else None, None, told.type if told else None)


@dataclass(frozen=True, slots=True)
class _Told:
    """A provider's error object; whatever is no short text is None."""

    message: str | None
    type: str | None
    code: str | None
    param: str | None


def _told(body: bytes) -> _Told | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return _Told(error[:LOGGED_CHARACTERS], None, None, None)
    if not isinstance(error, dict):
        return None
    message = error.get("message")
    return _Told(
        message[:LOGGED_CHARACTERS] if isinstance(message, str) else None,
        _word(error.get("type")),
        _word(error.get("code")),
        _word(error.get("param")),
    )


def error_code(event: bytes) -> str | None:
    """The code, else the type, in a provider's error event."""
    told = _told(event[event.find(b"{") :].strip() if b"{" in event else b"")
    return None if told is None else told.code or told.type


def _word(value: object) -> str | None:
    return value[:100] if isinstance(value, str) and value else None


def shown(body: bytes) -> str:
    """A body as the log shows it."""
    return body[:LOGGED_CHARACTERS].decode("utf-8", "replace")
