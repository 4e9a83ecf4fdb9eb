"""One attempt at one target: the request is sent and the response read up to its first byte, or AttemptFailed raised.

A complete response is read and checked before it counts. Of a stream the first events are awaited, so that nothing has
gone to the client while another target may still be asked. A provider's error body goes to the log.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from core_app.content_codings import BrokenCoding
from core_app.http1 import (
    ConnectFailed,
    ConnectTimedOut,
    Disconnected,
    HttpClientError,
    NameNotResolved,
    Response,
    TlsFailed,
)
from core_app.timeouts import Deadline, IdleTimer, running_loop
from inference_app.errors import ProviderRefusal
from inference_app.providers.provider_errors import ProviderError, parse_error
from inference_app.providers.retry_policy import CALLER_FAULT_STATUSES, FAILOVER_FIRST_BYTE, Fault, asked_delay
from inference_app.providers.upstreams import UPSTREAMS, Upstream
from inference_app.relay.answer_forms import answer_from_events, events_from_answer
from inference_app.relay.demo_provider import demo_response
from inference_app.relay.large_bodies import run_for_size
from inference_app.relay.response_body import ResponseBody, response_body
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
_DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)
_EVENT = re.compile(rb"(?:\A|[\r\n]|\xef\xbb\xbf)data:")

logger = structlog.get_logger("gateway.relay")


@dataclass(slots=True)
class UpstreamResponse:
    """A response that has started. `first` are the bytes for the client so far. `silence` is the timer that ends a
    stream from which nothing comes for too long; it and `observer` are None for a complete response."""

    response: Response
    first: bytes
    observer: StreamObserver | None
    usage: Usage | None
    silence: IdleTimer | None
    readany: Callable[[], Awaitable[bytes]] | None = None
    """Returns the next bytes of a stream, decoded."""

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
    converted: bool = False,
) -> UpstreamResponse:
    """Sends the request once; `observer` is for a stream. `converted`: the client has another wire, so that no error of
    the provider can be handed to it as it is. Raises AttemptFailed."""
    try:
        async with Deadline(seconds):
            return await _send(upstream, body, headers, observer, converted)
    except Disconnected:
        raise AttemptFailed(Fault("disconnected", "disconnected")) from None
    except ConnectFailed as error:
        raise AttemptFailed(Fault("connect", _connecting_code(error))) from None
    except TimeoutError:
        raise AttemptFailed(Fault("timeout", "timeout")) from None
    except (HttpClientError, OSError, ValueError):
        raise AttemptFailed(Fault("disconnected", "connection_broken")) from None


def _connecting_code(error: ConnectFailed) -> str:
    if isinstance(error, ConnectTimedOut):
        return "connect_timeout"
    if isinstance(error, NameNotResolved):
        return "name_not_resolved"
    return "tls_failed" if isinstance(error, TlsFailed) else "connection_failed"


async def _send(
    upstream: Upstream, body: bytes, headers: Mapping[str, str], observer: StreamObserver | None, converted: bool
) -> UpstreamResponse:
    response = await _post(upstream, body, headers)
    opened: UpstreamResponse | None = None
    try:
        content = response_body(response)
        if response.status != 200:
            raise await _read_error(upstream, response, content)
        opened = await (
            _read_whole(upstream, response, content, passes=not converted)
            if observer is None
            else _open_stream(upstream, response, content, observer)
        )
    except BrokenCoding:
        raise AttemptFailed(Fault("garbage", "invalid_content_coding")) from None
    finally:
        if opened is None:
            response.close()
    return opened


async def _post(upstream: Upstream, body: bytes, headers: Mapping[str, str]) -> Response:
    if upstream.provider.wire == "demo":
        return await demo_response(body)
    target, seconds = upstream.target(headers), upstream.provider.timeout.connect
    return await UPSTREAMS.client().post(target, body, connect_seconds=seconds)


async def _read_whole(
    upstream: Upstream, response: Response, content: ResponseBody, *, passes: bool
) -> UpstreamResponse:
    body = await content.read(MAX_ANSWER_BYTES)
    if len(body) > MAX_ANSWER_BYTES:
        raise AttemptFailed(Fault("garbage", "answer_too_large"))
    if starts_like_events(body[:16].lstrip()) and body.strip():
        body = await _fold(upstream, body)
    try:
        good, usage = read_response(body, upstream.wire, passes=passes)
    except ValueError:
        good, usage = False, None
    if not good:
        raise _failed_answer(upstream, response, body)
    return UpstreamResponse(response, body, None, usage, None)


async def _fold(upstream: Upstream, events: bytes) -> bytes:
    """Returns the complete response of a stream that was not asked for, or the error in it."""
    observer = StreamObserver(upstream.wire, strip_usage=False, passes_failures=False)
    size = len(events)
    await run_for_size(size, observer.feed, events if events.endswith(b"\n\n") else events + b"\n\n")
    if observer.failed is not None:
        return error_data(observer.failed)
    try:
        return await run_for_size(size, answer_from_events, events, upstream.wire)
    except ValueError:
        return events


async def _open_stream(
    upstream: Upstream, response: Response, content: ResponseBody, observer: StreamObserver
) -> UpstreamResponse:
    """Reads up to the first event that a client can use. Comments do not count: some providers send them while they
    search for capacity. After a while they pass, so that the client sees that its slow response is still coming."""
    first: bytes = b""
    looked: bytes | None = b""
    passing = running_loop().time() + COMMENTS_SECONDS
    while not first:
        data = await content.readany()
        if looked is not None:
            looked += data
            if data and not looked.strip():
                continue
            data, looked = await _begin_events(upstream, response, content, looked), None
        if not data:
            first = observer.finish()
            if not first and observer.failed is None:
                raise AttemptFailed(Fault("disconnected", "stream_ended"))
        else:
            first = observer.feed(data)
        if not _EVENT.search(first) and running_loop().time() < passing:
            first = b""
        if observer.ended_empty or ((observer.failed is not None or observer.cut) and not first):
            raise _failed_stream(upstream, response, observer)
    silent = partial(response.set_exception, TimeoutError("The provider is silent."))
    silence = IdleTimer(upstream.provider.timeout.idle, silent)
    return UpstreamResponse(response, first, observer, None, silence, content.readany)


async def _begin_events(upstream: Upstream, response: Response, content: ResponseBody, first: bytes) -> bytes:
    """Returns the first bytes of a stream; the events of a complete response that came in its place."""
    if not first or starts_like_events(first):
        return first
    body = first + await content.read_rest(MAX_ANSWER_BYTES - len(first))
    if len(body) > MAX_ANSWER_BYTES:
        raise AttemptFailed(Fault("garbage", "answer_too_large"))
    try:
        good, _ = read_response(body, upstream.wire, passes=False)
        if not good:
            raise ValueError
        return await run_for_size(len(body), events_from_answer, body, upstream.wire)
    except ValueError:
        raise _failed_answer(upstream, response, body) from None


def _failed_answer(upstream: Upstream, response: Response, body: bytes) -> AttemptFailed:
    """Returns the failure for a body with a good status that is no response of the wire."""
    _log_answer("provider_answered_an_error", upstream, body)
    return _failure_in(upstream, response, body, Fault("garbage", "invalid_answer"))


def _failed_stream(upstream: Upstream, response: Response, observer: StreamObserver) -> AttemptFailed:
    event = observer.failed or b""
    _log_answer("provider_failed_in_its_stream", upstream, event)
    if observer.failed is None:
        return AttemptFailed(Fault("disconnected", "stream_ended"))
    return _failure_in(upstream, response, error_data(event), Fault("stream_error", "stream_error"))


def _failure_in(upstream: Upstream, response: Response, body: bytes, unknown: Fault) -> AttemptFailed:
    """Returns the failure for an error in the place of a response; `unknown` is the fault if nothing is known of it."""
    error = parse_error(_without_key(body, upstream))
    if error is None:
        return AttemptFailed(unknown)
    status = error.true_status(None)
    delay = asked_delay(response.header, error.retry_after)
    fault = Fault(unknown.kind, error.word or (unknown.code if status is None else str(status)), status, delay)
    refusal = provider_refusal(status, error) if status in CALLER_FAULT_STATUSES else None
    return AttemptFailed(fault, refusal)


async def _read_error(upstream: Upstream, response: Response, content: ResponseBody) -> AttemptFailed:
    """Returns the error for a response with another status than 200."""
    try:
        body = _without_key(await content.read(MAX_ERROR_BYTES), upstream)
    except BrokenCoding:
        body = b""
    logger.warning(
        "provider_refused",
        provider=upstream.name,
        status=response.status,
        body=redacted_excerpt(body, upstream.provider.key),
    )
    error = (
        parse_error(body, plain=(response.header(b"content-type") or "").startswith("text/plain")) or ProviderError()
    )
    status = error.true_status(response.status) or response.status
    named = error.code or (error.type if upstream.wire == "anthropic" else None)
    code = named if named and _CODE.match(named) else str(status)
    fault = Fault("status", code, status, asked_delay(response.header, error.retry_after))
    return AttemptFailed(fault, provider_refusal(status, error) if status in CALLER_FAULT_STATUSES else None)


def provider_refusal(status: int, error: ProviderError) -> ProviderRefusal:
    """Returns the refusal of a request, in the provider's words."""
    message = error.message or f"The provider refused the request with status {status}."
    return ProviderRefusal(status, message, code=error.code, type=error.type, field=error.param)


def _without_key(body: bytes, upstream: Upstream) -> bytes:
    key = upstream.provider.key
    return body.replace(key.encode(), "…".encode()) if key else body


def _log_answer(event: str, upstream: Upstream, body: bytes) -> None:
    logger.warning(event, provider=upstream.name, body=redacted_excerpt(body, upstream.provider.key))


def error_data(event: bytes) -> bytes:
    """Returns the data of a provider's error event."""
    return b"\n".join(_DATA.findall(event)).strip() or event


def redacted_excerpt(body: bytes, key: str | None) -> str:
    """Returns the start of a body for the log, without the provider's key, which some repeat in their errors."""
    text = body[: 2 * LOGGED_CHARACTERS].decode("utf-8", "replace")
    return (text.replace(key, "…") if key else text)[:LOGGED_CHARACTERS]
