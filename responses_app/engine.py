"""The engine of background responses: a leg relays one response, and commits its events as they come.

What a provider cannot do now is waited for, as in every run; a stream that breaks off begins anew in another leg.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from functools import partial

from agents_app.engine import Failed, Finished, Leg, LegOutcome
from core_app import database, jsontext
from core_app.errors import GatewayError
from inference_app.conversion import exact_json
from inference_app.conversion.sse import DONE, EventParser
from inference_app.relay import Envelope, UpstreamRequest, upstream_call
from responses_app.apps import ENGINE as NAME
from responses_app.assembly import Json
from responses_app.attempts import Attempt, attempt_begin, attempt_complete
from responses_app.callers import caller_of
from responses_app.compaction import compactions_open
from responses_app.completions.relaying import completion_run
from responses_app.dialect import QuietDialect
from responses_app.errors import ConversationNotFound
from responses_app.events import LAST_TYPES
from responses_app.fenced_log import FencedLog
from responses_app.hosted.items import MARK, model_items_text
from responses_app.hosted.plan import HostedPlan, plan_of
from responses_app.hosted.run import Composition, HostedRun
from responses_app.hosted.secrets import secrets_unseal
from responses_app.hosted.turn import StreamBroken
from responses_app.items import join_items, output_text
from responses_app.models import Kind, StoredResponse
from responses_app.outcomes import Broken, broken_outcome, failed_outcome
from responses_app.references import references_resolve
from responses_app.selectors import ConversationPlace, chain_items, place_items
from responses_app.services import RUN_MARK
from tenants_app.principal import Principal

MAX_ANSWER = 2000
"""Characters of the text that the run keeps as its answer; the response has all of it."""

_OWN_EVENTS = frozenset({"response.created", "response.in_progress", "response.queued"})


class ResponseEngine:
    """The engine; each leg is one attempt."""

    name = NAME
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        public_id = leg.run.metadata.get(RUN_MARK)
        if not isinstance(public_id, str):
            return Failed("not_a_response", "This session belongs to a response; it takes no prompts.")
        attempt = await leg.transact(partial(attempt_begin, leg.session.tenant_id, public_id, leg.run.run_id))
        if attempt is None:
            return Finished("")
        if attempt.kind != Kind.RESPONSES:
            return await completion_run(leg, attempt)
        try:
            return await _run_attempt(leg, attempt)
        except StreamBroken as broken:
            return await broken_outcome(leg, attempt.pk, broken.error)
        except GatewayError as error:
            return failed_outcome(error)
        except Broken:
            return await broken_outcome(leg, attempt.pk, None)


async def _run_attempt(leg: Leg, attempt: Attempt) -> LegOutcome:
    envelope, principal = await database.run(_load, attempt.pk)
    plan = await plan_of(envelope, principal, checked=True)
    if plan is not None:
        return await _run_composed(leg, attempt, envelope, plan, principal)
    if MARK in (whole := bytes(memoryview(envelope.fields["input"]))):
        envelope = envelope.with_value("input", model_items_text(whole))
    dialect = QuietDialect()
    request = UpstreamRequest(
        kind="responses",
        envelope=envelope,
        principal=principal,
        request_id=f"{leg.run.run_id}.{leg.run.attempt}",
        dialect=dialect,
        converters=dialect.converters,
    )
    events = FencedLog(leg, attempt.stream_id)
    try:
        response = await _relay(request, attempt, events)
        if dialect.error is not None:
            return await broken_outcome(leg, attempt.pk, dialect.error)
        if response is None:
            raise Broken
        await leg.transact(partial(attempt_complete, attempt.pk, response))
    finally:
        await events.close()
    return Finished(output_text(response.get("output") or ())[:MAX_ANSWER])


async def _run_composed(
    leg: Leg, attempt: Attempt, envelope: Envelope, plan: HostedPlan, principal: Principal
) -> LegOutcome:
    """Makes an attempt of several turns; calls that an earlier one has made are not made again."""
    events, response = FencedLog(leg, attempt.stream_id), None
    given = Composition(
        envelope=envelope,
        plan=plan,
        principal=principal,
        request_id=f"{leg.run.run_id}.{leg.run.attempt}",
        kept=attempt.kept,
        first_index=attempt.first_index,
        before_call=events.drain,
    )
    try:
        async with aclosing(HostedRun(given).events()) as made:
            async for event in made:
                if event["type"] in LAST_TYPES:
                    response = event["response"]
                elif event["type"] not in _OWN_EVENTS:
                    await events.add(event)
        if response is None:
            raise Broken
        await events.drain()
        await leg.transact(partial(attempt_complete, attempt.pk, response))
    finally:
        await events.close()
    return Finished(output_text(response.get("output") or ())[:MAX_ANSWER])


async def _relay(request: UpstreamRequest, attempt: Attempt, events: FencedLog) -> Json | None:
    """Commits the events of the provider's response, and returns its object as the last one had it."""
    parser, response = EventParser(), None
    async with upstream_call(request) as upstream:
        request.envelope.forget_body()
        data = upstream.first or await upstream.more()
        while data:
            response = await _take(parser.feed(data), attempt, events) or response
            data = await upstream.more()
    response = await _take(parser.end(), attempt, events) or response
    await events.drain()
    return response


async def _take(datas: Iterable[bytes], attempt: Attempt, events: FencedLog) -> Json | None:
    response: Json | None = None
    for data in datas:
        event = None if data.strip() == DONE else exact_json.decode(data)
        if not isinstance(event, dict) or event.get("type") in _OWN_EVENTS:
            continue
        if event.get("type") == "error":
            raise Broken
        if event.get("type") in LAST_TYPES:
            response = event.get("response")
            continue
        event.pop("sequence_number", None)
        if isinstance(index := event.get("output_index"), int):
            event["output_index"] = index + attempt.first_index
        await events.add(event)
    return response


def _load(pk: int) -> tuple[Envelope, Principal]:
    """Returns the request with its whole conversation, and its caller. Raises PreviousNotFound."""
    row = StoredResponse.objects.get(pk=pk)
    history = _history(row)
    whole = compactions_open(join_items([*history, row.input]), row.tenant_id)
    whole = references_resolve(whole, row.tenant_id)
    envelope = secrets_unseal(Envelope.open(row.request.encode())).with_changes({"input": whole})
    return envelope, caller_of(row)


def _history(row: StoredResponse) -> list[str]:
    if row.previous_id is not None:
        return chain_items(row.tenant_id, row.previous_id)
    if row.conversation_through is None:
        return []
    if row.conversation_id is None:
        raise ConversationNotFound(jsontext.decode(row.body)["conversation"]["id"], field="conversation")
    return place_items(ConversationPlace(row.conversation_id, row.conversation_through))


ENGINE = ResponseEngine()
