"""The relayed endpoints: chat completions, embeddings and messages, streamed or complete."""

from __future__ import annotations

from edge_app.http.exchange import Endpoint
from faces.inference.http import Exchange
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


def relay_endpoint(kind: RequestKind) -> Endpoint[Dialect]:
    """Returns the endpoint that relays requests of `kind`."""

    async def endpoint(exchange: Exchange) -> None:
        exchange.headers += await take_token(exchange.principal, kind)
        await relay_body(kind, exchange, await open_envelope(await exchange.read_body()))

    return endpoint


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
