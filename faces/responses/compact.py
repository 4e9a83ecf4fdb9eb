"""POST /v1/responses/compact: a long conversation as the user's messages and one sealed summary."""

from __future__ import annotations

from core_app.errors import BadRequest
from core_app.jsontext import decode
from faces.responses.http import Exchange
from inference_app.relay import UpstreamRequest, open_envelope, take_token, upstream_call
from inference_app.relay.large_bodies import run_for_size
from responses_app.compaction import compaction_answer, compaction_request
from responses_app.dialect import ResponsesDialect
from responses_app.preparation import request_prepare
from responses_app.request import input_check, read_state


async def response_compact(exchange: Exchange) -> None:
    """Asks the model for the summary, and sends it sealed. Nothing is stored."""
    exchange.headers += await take_token(exchange.principal, "responses")
    envelope = await open_envelope(await exchange.read_body())
    state = read_state(envelope, exchange.principal)
    if state.previous_id is None and state.conversation_id is None:
        input_check(envelope)
    instructions = envelope.value_of("instructions")
    if not isinstance(instructions, str | None):
        raise BadRequest("'instructions' must be a text.", field="instructions")
    prepared = (await request_prepare(envelope, state, exchange.principal)).envelope
    asked, items = await run_for_size(prepared.size, compaction_request, prepared, instructions)
    dialect = ResponsesDialect()
    request = UpstreamRequest(
        kind="responses",
        envelope=asked,
        principal=exchange.principal,
        request_id=exchange.request_id,
        dialect=dialect,
        converters=dialect.converters,
    )
    async with exchange.watch(), upstream_call(request) as upstream:
        answer = compaction_answer(exchange.principal.tenant_id, items, decode(upstream.first))
        await exchange.send_json(200, answer, upstream.headers[1:])
