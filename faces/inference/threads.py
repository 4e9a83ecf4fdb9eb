"""POST /v1/messages where the gateway keeps something: a thread, or a summary in place of a conversation.

Routing, retries, fallbacks, circuits and metering are those of every relayed request.
"""

from __future__ import annotations

from core_app.errors import BadRequest
from faces.inference.http import Exchange
from inference_app.catalogue.config import models_config
from inference_app.conversion import exact_json
from inference_app.conversion.fields import THREAD
from inference_app.converters import CONVERTERS
from inference_app.providers.upstreams import FORWARDED_HEADERS
from inference_app.relay import Envelope, UpstreamRequest, upstream_call
from inference_app.relay.targets import TARGETS
from responses_app.recording import RecordedAnswer
from responses_app.threads.compaction import (
    COMPACTION,
    Compaction,
    read_compaction,
    summary_events,
    summary_message,
    summary_request,
)
from responses_app.threads.preparation import has_own_summary
from responses_app.threads.request import read_thread
from responses_app.threads.turn import Turn

_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


def is_stateful(envelope: Envelope) -> bool:
    """True for a request that is about something the gateway keeps."""
    return THREAD in envelope.fields or COMPACTION in envelope.fields or has_own_summary(envelope)


async def message_create(exchange: Exchange, envelope: Envelope) -> None:
    """Answers one request, streamed or complete."""
    wanted, compaction = read_thread(envelope, exchange.principal), read_compaction(envelope)
    if wanted is not None and wanted.previous_id is None and wanted.says_nothing:
        raise BadRequest("'messages' must have at least one message.", field="messages")
    async with Turn(exchange.principal, wanted) as turn:
        prepared = await turn.prepare(envelope)
        if compaction is not None and not _compacts(exchange, prepared):
            await _send_summary(exchange, prepared, turn, compaction)
            return
        del envelope
        request = _upstream_request(exchange, prepared)
        async with exchange.watch() as watch, upstream_call(request) as upstream:
            prepared.forget_body()
            if wanted is None:
                exchange.release_body()
                await exchange.send_upstream(upstream, watch, streamed=request.streamed)
            elif request.streamed:
                await exchange.send_upstream(turn.stream(upstream), watch, streamed=True)
            else:
                await exchange.send_upstream(await turn.answer(upstream), watch, streamed=False)


async def _send_summary(exchange: Exchange, prepared: Envelope, turn: Turn, wanted: Compaction) -> None:
    request = _upstream_request(exchange, summary_request(prepared, wanted))
    streamed = prepared.streamed
    async with exchange.watch() as watch, upstream_call(request) as upstream:
        message = await turn.keep(summary_message(exact_json.decode(upstream.first)))
        headers, body = upstream.headers, exact_json.encode(message)
        if streamed:
            headers, body = [*_STREAM, *headers[1:]], b"".join(summary_events(message))
        await exchange.send_upstream(RecordedAnswer(headers, body), watch, streamed=streamed)


def _compacts(exchange: Exchange, envelope: Envelope) -> bool:
    """True if every provider of the model takes the request on Anthropic's own wire, and compacts by itself."""
    converters = CONVERTERS["messages"]
    targets = TARGETS.targets_for(models_config(), envelope.model, "messages", converters, exchange.principal)
    return all(target.converter is None for target in targets)


def _upstream_request(exchange: Exchange, envelope: Envelope) -> UpstreamRequest:
    return UpstreamRequest(
        kind="messages",
        envelope=envelope,
        principal=exchange.principal,
        request_id=exchange.request_id,
        dialect=exchange.dialect,
        converters=CONVERTERS["messages"],
        forwarded_headers=exchange.forwarded_headers(FORWARDED_HEADERS),
    )
