"""POST /v1/responses: passed through if the provider has that API, else converted to the provider's wire and back.

Routing, retries, fallbacks, circuits and metering are those of the relay.
"""

from __future__ import annotations

from dataclasses import replace

from faces.responses.dialect import ResponsesDialect
from faces.responses.http import Exchange
from faces.responses.stateless import response_not_found, stateless_check
from inference_app.providers.upstreams import FORWARDED_HEADERS
from inference_app.relay import UpstreamRequest, open_envelope, take_token, upstream_call
from inference_app.request_kinds import NATIVE


async def response_create(exchange: Exchange) -> None:
    """Creates one response, streamed or complete."""
    exchange.headers += await take_token(exchange.principal, "responses")
    envelope = await open_envelope(await exchange.read_body())
    stateless_check(envelope)
    dialect = ResponsesDialect()
    request = UpstreamRequest(
        kind="responses",
        envelope=envelope,
        principal=exchange.principal,
        request_id=exchange.request_id,
        dialect=dialect,
        converters=dialect.converters,
        forwarded_headers=exchange.forwarded_headers(FORWARDED_HEADERS),
    )
    async with exchange.watch() as watch, upstream_call(request) as upstream:
        envelope.forget_body()
        exchange.release_body()
        if upstream.wire == NATIVE["responses"]:
            dialect.pass_through()
        exchange.started = True
        remembering = replace(exchange, send=dialect.remember(exchange.send), send_body=None)
        await remembering.send_upstream(upstream, watch, streamed=request.streamed)


async def response_missing(exchange: Exchange) -> None:
    """Raises ResponseNotFound, because no response is stored."""
    raise response_not_found(exchange.scope["path"].split("/")[3])
