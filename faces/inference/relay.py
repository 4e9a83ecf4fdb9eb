"""The relayed endpoints: chat completions, embeddings and messages, streamed or complete."""

from __future__ import annotations

from collections.abc import Mapping

from core_app.errors import BadRequest
from edge_app.http.exchange import Endpoint
from faces.inference.background import completion_create, is_background
from faces.inference.http import Exchange
from faces.inference.threads import is_stateful, message_create
from inference_app.conversion.fields import THREAD
from inference_app.converters import CONVERTERS
from inference_app.providers.upstreams import FORWARDED_HEADERS
from inference_app.relay import (
    Dialect,
    Envelope,
    RequestKind,
    UpstreamRequest,
    open_envelope,
    take_token,
    upstream_call,
)
from responses_app.models import Kind

_IN_BACKGROUND: Mapping[RequestKind, Kind] = {"chat": Kind.CHAT, "messages": Kind.MESSAGES}
"""Kinds of requests that may run in the background."""

MAX_EMPTY = 64
"""Bytes that are looked at to see whether a list is empty."""


def relay_endpoint(kind: RequestKind) -> Endpoint[Dialect]:
    """Returns the endpoint that relays requests of `kind`."""

    async def endpoint(exchange: Exchange) -> None:
        exchange.headers += await take_token(exchange.principal, kind)
        body = await exchange.read_body()
        envelope = await open_envelope(body)
        _required_check(kind, envelope)
        if kind in _IN_BACKGROUND and is_background(exchange.scope):
            await completion_create(_IN_BACKGROUND[kind], exchange, body, envelope)
            return
        # One copy less while the provider is asked, where the envelope has another.
        del body
        if kind == "messages" and is_stateful(envelope):
            await message_create(exchange, envelope)
            return
        await relay_body(kind, exchange, envelope)

    return endpoint


def _required_check(kind: RequestKind, envelope: Envelope) -> None:
    """Raises BadRequest for a Messages request without a field that Anthropic requires."""
    if kind != "messages":
        return
    limit = envelope.value_of("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise BadRequest("'max_tokens' is required and must be a number of tokens.", field="max_tokens")
    messages = envelope.fields.get("messages")
    if THREAD in envelope.fields and envelope.value_of(THREAD) is not None:
        # One that continues an answer which its provider has paused says nothing.
        return
    if messages is None or bytes(memoryview(messages)[:MAX_EMPTY]).translate(None, b" \t\r\n") in (b"[]", b"null"):
        raise BadRequest("'messages' is required and must have at least one message.", field="messages")


async def relay_body(kind: RequestKind, exchange: Exchange, envelope: Envelope) -> None:
    """Relays a request whose body is already parsed."""
    request = UpstreamRequest(
        kind=kind,
        envelope=envelope,
        principal=exchange.principal,
        request_id=exchange.request_id,
        dialect=exchange.dialect,
        converters=CONVERTERS.get(kind, {}),
        forwarded_headers=exchange.forwarded_headers(FORWARDED_HEADERS),
    )
    async with exchange.watch() as watch, upstream_call(request) as upstream:
        envelope.forget_body()
        exchange.release_body()
        await exchange.send_upstream(upstream, watch, streamed=request.streamed)
