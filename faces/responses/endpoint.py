"""POST /v1/responses: relayed, stored when it ends; or run in the background.

Routing, retries, fallbacks, circuits and metering are those of the relay.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from core_app import database
from core_app.jsontext import decode
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import ClientGone, Message, Send, header
from edge_app.http.response import JSON, send_response
from faces.responses.http import Exchange
from faces.responses.stream import send_events
from inference_app.providers.upstreams import FORWARDED_HEADERS
from inference_app.relay import Envelope, UpstreamRequest, open_envelope, take_token, upstream_call
from inference_app.request_kinds import NATIVE
from responses_app.dialect import ResponsesDialect
from responses_app.hosted.plan import HostedPlan, plan_of
from responses_app.hosted.run import Composition, prepared_check
from responses_app.hosted.upstream import HostedAnswer
from responses_app.preparation import Prepared, request_prepare
from responses_app.recording import Recording
from responses_app.request import StateRequest, input_check, read_state
from responses_app.selectors import response_get
from responses_app.services import BackgroundRequest, response_start
from responses_app.wire import response_to_wire
from tenants_app.services.idempotency import Claim, Replay, idempotency_begin, idempotency_release

IDEMPOTENCY_KEY = b"idempotency-key"


async def response_create(exchange: Exchange) -> None:
    """Creates one response, streamed or complete."""
    exchange.headers += await take_token(exchange.principal, "responses")
    body = await exchange.read_body()
    envelope = await open_envelope(body)
    input_check(envelope)
    state = read_state(envelope, exchange.principal)
    plan = await plan_of(envelope, exchange.principal)
    if state.background:
        # Before anything starts: a client that is refused its stream would ask for another response.
        with FOLLOWERS.track(exchange.principal) if envelope.streamed else nullcontext():
            await _run_in_background(exchange, body, envelope, state, plan)
        return
    # One copy less while the request is prepared, where the envelope has another.
    del body
    prepared = await request_prepare(envelope, state, exchange.principal, composed=plan is not None)
    del envelope
    recording = Recording(exchange.principal, state, prepared)
    kept = recording if state.store else None
    try:
        if plan is None:
            await _relay(exchange, prepared, kept)
        else:
            await _compose(exchange, prepared, plan, kept)
    except ClientGone:
        await recording.cancel()
        raise


async def _relay(exchange: Exchange, prepared: Prepared, recording: Recording | None) -> None:
    dialect = ResponsesDialect()
    envelope = prepared.envelope
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
        if recording is None:
            # Of a response that is stored, the input stays in memory until its end.
            exchange.release_body()
        if upstream.wire == NATIVE["responses"]:
            dialect.pass_through()
        exchange.started = recording is None or request.streamed
        remembering = replace(exchange, send=_remembering(exchange.send, dialect), send_body=None)
        if recording is None:
            await remembering.send_upstream(upstream, watch, streamed=request.streamed)
        elif request.streamed:
            await remembering.send_upstream(recording.stream(upstream), watch, streamed=True)
        else:
            answer = await recording.answer(upstream)
            exchange.started = True
            await remembering.send_upstream(answer, watch, streamed=False)


async def _compose(exchange: Exchange, prepared: Prepared, plan: HostedPlan, recording: Recording | None) -> None:
    """Sends a response that takes several calls."""
    given = Composition(
        envelope=prepared.envelope,
        plan=plan,
        principal=exchange.principal,
        request_id=exchange.request_id,
        forwarded_headers=exchange.forwarded_headers(FORWARDED_HEADERS),
    )
    streamed = prepared.envelope.streamed
    async with exchange.watch() as watch, HostedAnswer(given, streamed=streamed) as composed:
        if recording is None:
            await exchange.send_upstream(composed, watch, streamed=streamed)
        elif streamed:
            await exchange.send_upstream(recording.stream(composed), watch, streamed=True)
        else:
            await exchange.send_upstream(await recording.answer(composed), watch, streamed=False)


def _remembering(send: Send, dialect: ResponsesDialect) -> Send:
    """Returns a `send` that lets the dialect remember the first and the newest bytes of the body."""

    async def send_and_remember(message: Message) -> None:
        if body := message.get("body"):
            dialect.remember(body)
        await send(message)

    return send_and_remember


async def _run_in_background(
    exchange: Exchange, body: bytes, envelope: Envelope, state: StateRequest, plan: HostedPlan | None
) -> None:
    """Starts the response, and sends its first state or its stream. A client that leaves does not end it."""
    found = await _claim(exchange, body)
    streamed = envelope.streamed
    if isinstance(found, Replay):
        exchange.headers.append((b"idempotent-replayed", b"true"))
        await _send_replay(exchange, found, streamed=streamed)
        return
    try:
        composed = plan is not None
        prepared = await request_prepare(envelope, state, exchange.principal, composed=composed)
        if plan is not None:
            await prepared_check(plan, prepared.envelope)
        request = BackgroundRequest(
            state, prepared.envelope, prepared.own_input, streamed, found, prepared.place, composed
        )
        row = await database.run(response_start, principal=exchange.principal, request=request)
    except BaseException:
        if found is not None:
            await database.run(idempotency_release, claim=found)
        raise
    exchange.release_body()
    if streamed:
        await send_events(exchange, row, -1)
    else:
        await exchange.send_json(200, response_to_wire(row))


async def _claim(exchange: Exchange, body: bytes) -> Claim | Replay | None:
    key = header(exchange.scope, IDEMPOTENCY_KEY)
    if key is None:
        return None
    tenant_id, route = exchange.principal.tenant_id, "POST /v1/responses"
    return await database.run(idempotency_begin, tenant_id=tenant_id, key=key.decode("latin-1"), route=route, body=body)


async def _send_replay(exchange: Exchange, replay: Replay, *, streamed: bool) -> None:
    """Sends the first answer again; of a streamed one, the whole stream from its beginning."""
    if not streamed:
        exchange.started = True
        await send_response(exchange.send, replay.status, replay.body.encode(), [JSON, *exchange.headers])
        return
    row = await database.run(response_get, exchange.principal, decode(replay.body)["id"])
    await send_events(exchange, row, -1)
