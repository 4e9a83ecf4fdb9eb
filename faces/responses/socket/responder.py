"""The responses of one socket: relayed as over HTTP, or run in the background, with all their events as frames.

A response in the foreground ends with its socket and is kept as cancelled; one in the background goes on.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from core_app import database, jsontext
from core_app.errors import BadRequest, GatewayError, Unavailable
from core_app.ids import new_id
from edge_app.http.errors import internal_error
from faces.responses.socket.frames import ClientFrame, Json, encode_error, encode_event
from faces.responses.socket.response import SendEvent, SocketResponse, Steered
from faces.responses.socket.steering import (
    SteerRefused,
    Target,
    accepted_event,
    failed_event,
    pending_event,
    read_steer,
    steer_accept,
)
from faces.responses.socket.unstored import UnstoredResponses
from faces.responses.socket.wanted import Wanted, successor_of, wanted_of
from faces.responses.stream import read_events
from inference_app.conversion import exact_json
from inference_app.conversion.sse import DONE, EventParser
from inference_app.conversion.writers.response_shape import response_shape
from inference_app.relay import Envelope, UpstreamRequest, take_token, upstream_call
from inference_app.relay.large_bodies import run_for_size
from inference_app.request_kinds import NATIVE
from responses_app.dialect import ResponsesDialect
from responses_app.events import LAST_TYPES
from responses_app.hosted.plan import HostedPlan, plan_of
from responses_app.hosted.run import Composition, prepared_check
from responses_app.hosted.upstream import HostedAnswer
from responses_app.items import input_items, join_items
from responses_app.preparation import Prepared, request_prepare
from responses_app.recording import Recording, Relayed
from responses_app.services import BackgroundRequest, model_check, response_start
from tenants_app.principal import Principal

MAX_TARGETS = 64
"""Responses that a socket remembers, so that steering input that comes too late is told so."""


class Socket(Protocol):
    """The connection as its responses see it."""

    async def caller(self) -> Principal:
        """Returns the caller, after a check; raises GatewayError, and then the socket ends."""

    async def put(self, frame: str) -> None:
        """Sends a frame, no faster than the client reads."""

    def request_id(self) -> str:
        """Returns an id for one more request of the socket."""


class Responder:
    """Answers the requests of one socket of a tenant, the `owner`. Belongs to the loop."""

    def __init__(self, socket: Socket, owner: int) -> None:
        self._socket = socket
        self._unstored = UnstoredResponses(owner)
        self._targets: OrderedDict[str, Target] = OrderedDict()

    async def create(self, frame: ClientFrame) -> None:
        """Answers a frame `response.create`, and the successors that steering makes."""
        try:
            principal = await self._socket.caller()
            await take_token(principal, "responses")
            wanted: Wanted | None = await run_for_size(len(frame.raw), wanted_of, frame, principal)
            assert wanted is not None
            if (target := self._waiting_for(wanted)) is not None:
                wanted = wanted.with_steers(list(target.steers))
            while wanted is not None:
                wanted = await self._respond(wanted, principal)
        except Exception as cause:  # the boundary of this wire
            error = cause if isinstance(cause, GatewayError) else internal_error(cause)
            await self._socket.put(encode_error(error, frame.stream_id))

    def steer(self, frame: ClientFrame) -> str:
        """Returns the answer to a frame `response.steer`. Raises BadRequest where its target cannot be read."""
        response_id, given = read_steer(frame.raw)
        target = self._targets.get(response_id)
        lane = None if target is None else target.stream_id
        try:
            steer = steer_accept(target, given)
        except SteerRefused as refused:
            event = failed_event(target, response_id, given, None, refused.code, refused.message)
        else:
            assert target is not None
            event = accepted_event(target, steer)
        return encode_event(event, lane)

    def close(self) -> None:
        """Forgets what the socket has remembered, once all requests have ended."""
        self._unstored.close()

    # -- one response --------------------------------------------------------------------------------

    async def _respond(self, wanted: Wanted, principal: Principal) -> Wanted | None:
        """Answers one request; returns that of its successor. Where a successor cannot begin, the client gets back what
        it has said."""
        if wanted.state.background:
            await self._run_in_background(wanted, principal)
            return None
        settings = wanted.settings()
        response: SocketResponse | None = None
        try:
            if wanted.is_successor:
                await take_token(principal, "responses")
            plan = await plan_of(wanted.envelope, principal)
            prepared, history = await self._prepare(wanted, principal, composed=plan is not None)
            state = wanted.state
            recording = Recording(principal, state, prepared) if state.store else None
            response = SocketResponse(wanted, recording, self._sender(wanted), self._track(wanted))
            await self._answer(wanted, prepared, principal, response, plan)
        except Exception as cause:
            begun = response is not None and response.target is not None
            if begun or not wanted.is_successor:
                raise
            await self._give_back(wanted, cause if isinstance(cause, GatewayError) else internal_error(cause))
            return None
        target = response.target
        if target is None:
            return None
        if not state.store:
            self._unstored.put(target.response_id, [*history, response.replay_items()])
        return await self._go_on(wanted, settings, response, target)

    async def _go_on(
        self, wanted: Wanted, settings: Envelope, response: SocketResponse, target: Target
    ) -> Wanted | None:
        """Does what the input that waits for an ended response asks for."""
        steers = list(target.steers)
        if not steers:
            return None
        lane = target.stream_id
        if response.status not in ("completed", "incomplete"):
            target.steers.clear()
            for steer in steers:
                event = failed_event(
                    target, target.response_id, steer.given, steer.id, "response_not_active", "The response failed."
                )
                await self._socket.put(encode_event(event, lane))
            return None
        if response.waits_for_client:
            for steer in steers:
                await self._socket.put(encode_event(pending_event(target, steer, response.output), lane))
            return None
        return successor_of(settings, wanted, target.response_id, steers)

    async def _prepare(self, wanted: Wanted, principal: Principal, *, composed: bool) -> tuple[Prepared, Sequence[str]]:
        """Returns the request with its whole conversation, and that conversation where the response is not stored."""
        envelope, state = wanted.envelope, wanted.state
        known = self._unstored.items(state.previous_id)
        if known is not None:
            if state.store:
                raise BadRequest(
                    "The response of 'previous_response_id' was not stored: send 'store': false.", field="store"
                )
            own = input_items(envelope.fields.get("input"))
            envelope = envelope.with_changes({"input": join_items([*known, own]), "previous_response_id": None})
            state = replace(state, previous_id=None)
        prepared = await request_prepare(envelope, state, principal, composed=composed)
        if state.store:
            return prepared, ()
        return prepared, [input_items(prepared.envelope.fields.get("input"))]

    async def _answer(
        self,
        wanted: Wanted,
        prepared: Prepared,
        principal: Principal,
        response: SocketResponse,
        plan: HostedPlan | None,
    ) -> None:
        try:
            if wanted.generate and plan is not None:
                await self._compose(prepared, plan, principal, response)
            elif wanted.generate:
                await self._relay(prepared, principal, response)
            else:
                await _keep_input(prepared, principal, response)
        except Steered:
            await response.end_steered()
        except BaseException:
            await response.cancel()
            raise

    async def _relay(self, prepared: Prepared, principal: Principal, response: SocketResponse) -> None:
        dialect = ResponsesDialect()
        request = UpstreamRequest(
            kind="responses",
            envelope=prepared.envelope,
            principal=principal,
            request_id=self._socket.request_id(),
            dialect=dialect,
            converters=dialect.converters,
        )
        async with upstream_call(request) as upstream:
            prepared.envelope.forget_body()
            if upstream.wire == NATIVE["responses"]:
                dialect.pass_through()
            await _take_all(upstream, response, dialect.remember)

    async def _compose(
        self, prepared: Prepared, plan: HostedPlan, principal: Principal, response: SocketResponse
    ) -> None:
        """Answers a request that takes several calls."""
        given = Composition(
            envelope=prepared.envelope,
            plan=plan,
            principal=principal,
            request_id=self._socket.request_id(),
            forwarded_headers={},
        )
        async with HostedAnswer(given, streamed=True) as composed:
            await _take_all(composed, response, lambda data: None)

    async def _run_in_background(self, wanted: Wanted, principal: Principal) -> None:
        plan = await plan_of(wanted.envelope, principal)
        prepared = await request_prepare(wanted.envelope, wanted.state, principal, composed=plan is not None)
        if plan is not None:
            await prepared_check(plan, prepared.envelope)
        request = BackgroundRequest(
            wanted.state,
            prepared.envelope,
            prepared.own_input,
            streamed=True,
            place=prepared.place,
            composed=plan is not None,
        )
        row = await database.run(response_start, principal=principal, request=request)
        target, kind = Target(row.public_id, wanted.stream_id, wanted.no_steering), ""
        self._remember(target)
        parser = EventParser()
        async for chunk in read_events(principal, row):
            for data in parser.feed(chunk):
                event = exact_json.decode(data)
                kind = event["type"]
                await self._socket.put(encode_event(event, wanted.stream_id))
        target.over = True
        if kind not in LAST_TYPES:
            raise Unavailable(f"The stream of '{row.public_id}' was cut off here; it goes on, and is read over HTTP.")

    # -- targets of steering -------------------------------------------------------------------------

    def _track(self, wanted: Wanted) -> Callable[[Target], None]:
        def note_created(target: Target) -> None:
            self._remember(target)
            if wanted.steers and (before := self._targets.get(wanted.state.previous_id or "")) is not None:
                # Their successor has begun.
                before.steers = [steer for steer in before.steers if steer not in wanted.steers]

        return note_created

    def _sender(self, wanted: Wanted) -> SendEvent:
        async def send(event: Json) -> None:
            await self._socket.put(encode_event(event, wanted.stream_id))

        return send

    def _remember(self, target: Target) -> None:
        self._targets[target.response_id] = target
        while len(self._targets) > MAX_TARGETS:
            # The oldest that has nothing to do; lanes are fewer than targets.
            oldest = next((name for name, known in self._targets.items() if known.over), target.response_id)
            del self._targets[oldest]

    def _waiting_for(self, wanted: Wanted) -> Target | None:
        """Returns the ended response whose input waits for the request at hand."""
        target = self._targets.get(wanted.state.previous_id or "")
        if target is None or not target.over or not target.steers or target.stream_id != wanted.stream_id:
            return None
        return target

    async def _give_back(self, wanted: Wanted, error: GatewayError) -> None:
        target = self._targets.get(wanted.state.previous_id or "")
        for steer in wanted.steers:
            event = failed_event(
                target,
                wanted.state.previous_id or "",
                steer.given,
                steer.id,
                "successor_creation_failed",
                error.message,
            )
            await self._socket.put(encode_event(event, wanted.stream_id))
        if target is not None:
            target.steers.clear()


async def _take_all(upstream: Relayed, response: SocketResponse, remember: Callable[[bytes], None]) -> None:
    parser = EventParser()
    data = upstream.first or await upstream.more()
    while data:
        remember(data)
        for event in parser.feed(data):
            await _take(event, response)
        data = await upstream.more()
    for event in parser.end():
        await _take(event, response)


async def _take(data: bytes, response: SocketResponse) -> None:
    event = None if data.strip() == DONE else exact_json.decode(data)
    if isinstance(event, dict):
        await response.take(event)


async def _keep_input(prepared: Prepared, principal: Principal, response: SocketResponse) -> None:
    """Answers a request that generates nothing: its input waits for a request that continues it."""
    await database.run(model_check, principal, prepared.envelope.model)
    fields = jsontext.decode_untrusted(prepared.envelope.without("input").raw)
    shape = response_shape(fields, new_id("resp"), int(time.time()))
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    ended = {**shape, "status": "completed", "completed_at": int(time.time()), "usage": {**usage, **details}}
    for kind, state in (("created", shape), ("in_progress", shape), ("completed", ended)):
        await response.take({"type": f"response.{kind}", "response": dict(state)})
