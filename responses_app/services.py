"""Storing, starting, cancelling and deleting responses."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, SessionNotFound
from core_app.ids import new_id
from events_app import log
from events_app.removal import streams_empty, streams_remove
from inference_app.catalogue.config import models_config
from inference_app.conversion.writers.response_shape import response_shape
from inference_app.errors import NoProvider
from inference_app.relay import Envelope
from inference_app.relay.targets import TARGETS
from responses_app.apps import ENGINE
from responses_app.attempts import response_join
from responses_app.dialect import ResponsesDialect
from responses_app.events import ResponseEvent
from responses_app.hosted.secrets import secrets_seal
from responses_app.items import excerpt
from responses_app.models import Conversation, ResponseStatus, StoredResponse
from responses_app.references import references_add
from responses_app.request import StateRequest
from responses_app.selectors import ConversationPlace, response_get
from responses_app.wire import Json, Stamp, body_text
from sessions_app.services.erasure import session_erase
from sessions_app.services.prompt import Prompt, PromptReceipt, prompt_accept
from sessions_app.services.run_control import run_abort
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.principal import Principal
from tenants_app.services.idempotency import Claim, idempotency_complete

RUN_MARK = "gatewayResponse"
"""The key of a run's metadata that has the response's id."""

MAX_MODEL = 200


@dataclass(frozen=True, slots=True)
class ForegroundResponse:
    """A relayed response that has ended. `response` is its object as the client has it."""

    state: StateRequest
    own_input: str
    model: str
    response_id: str
    status: ResponseStatus
    response: Mapping[str, Any]
    place: ConversationPlace | None = None


def model_check(principal: Principal, model: str) -> None:
    """Raises ModelNotFound. That no provider can be asked at the moment is no reason to refuse: the run waits."""
    try:
        TARGETS.targets_for(models_config(), model, "responses", ResponsesDialect().converters, principal)
    except NoProvider:
        return


def response_store(*, principal: Principal, given: ForegroundResponse) -> None:
    """Stores a foreground response."""
    with write_transaction():
        row = StoredResponse.objects.create(
            tenant_id=principal.tenant_id,
            api_key_id=principal.key_id,
            public_id=given.response_id,
            previous_id=given.state.previous_id,
            **_place_fields(given.place),
            status=given.status,
            model=given.model[:MAX_MODEL],
            input=given.own_input,
            body=body_text(given.response),
            output=jsontext.encode_text(given.response.get("output") or []),
            end_user=given.state.end_user,
        )
        references_add(row, given.response.get("output") or ())
        response_join(row)


def _place_fields(place: ConversationPlace | None) -> dict[str, int]:
    """Returns the columns of a place. A conversation that was deleted meanwhile is gone for the response, too."""
    if place is None:
        return {}
    kept = Conversation.objects.filter(pk=place.conversation_pk).exists()
    return {"conversation_through": place.through} | ({"conversation_id": place.conversation_pk} if kept else {})


@dataclass(frozen=True, slots=True)
class BackgroundRequest:
    """A request to run in the background. `envelope` is the provider's, with the whole conversation or without: it is
    expanded again when a leg starts. The calls that a `composed` one makes are in its stream, which it always has."""

    state: StateRequest
    envelope: Envelope
    own_input: str
    streamed: bool
    claim: Claim | None = None
    place: ConversationPlace | None = None
    composed: bool = False


def response_start(*, principal: Principal, request: BackgroundRequest) -> StoredResponse:
    """Starts a response in the background: its row, its stream and its run are committed together.

    Raises ModelNotFound, and what the acceptance of a prompt raises: limits of sessions and of waiting runs.
    """
    model_check(principal, request.envelope.model)
    state = request.state
    stamp = Stamp(new_id("resp"), True, state.previous_id, state.conversation_id)
    response = _queued(stamp, request.envelope)
    with write_transaction():
        row = _create(principal, request, stamp, response)
        if row.stream_id is not None:
            started = [{"type": f"response.{kind}", "response": response} for kind in ("created", "queued")]
            log.append(row.stream_id, [ResponseEvent(fields=fields) for fields in started])
        if request.claim is not None:
            body = jsontext.encode_text(response)
            idempotency_complete(claim=request.claim, status=200, headers={}, body=body)
        run_begin(principal, row)
    return row


def response_cancel(*, principal: Principal, public_id: str) -> StoredResponse:
    """Cancels a response in the background, whatever its run is doing; one that has ended stays as it is. Raises
    BadRequest for a foreground one, which its client cancels by leaving."""
    row = response_get(principal, public_id)
    if not row.background:
        raise BadRequest("Only a response that was created with 'background' can be cancelled.", field="response_id")
    background_stop(principal, row)
    return row


def background_stop(principal: Principal, row: StoredResponse) -> None:
    """Ends the run of a background response that has not ended, and with it the response."""
    session = row.session
    if not row.finished and session is not None:
        # It may end meanwhile.
        with suppress(Conflict, SessionNotFound):
            run_abort(principal=principal, public_id=session.public_id, run_id=row.run_id, reason="Cancelled.")
        row.refresh_from_db()


def response_delete(*, principal: Principal, public_id: str) -> None:
    """Removes a response and everything that was kept for it; one that still runs is cancelled first."""
    row = response_get(principal, public_id)
    responses_remove([row], actor=principal.actor)


def responses_remove(rows: Sequence[StoredResponse], *, actor: str) -> None:
    """Removes responses with their sessions and streams. May be repeated after it was interrupted."""
    for row in rows:
        session = row.session
        if session is not None:
            # Another process may be quicker.
            with suppress(SessionNotFound):
                session_erase(tenant_id=row.tenant_id, public_id=session.public_id, actor=actor)
    streams = [row.stream_id for row in rows if row.stream_id is not None]
    streams_empty(stream_ids=streams)
    with write_transaction():
        StoredResponse.objects.filter(pk__in=[row.pk for row in rows]).delete()
        streams_remove(stream_ids=streams)


def _queued(stamp: Stamp, envelope: Envelope) -> Json:
    fields = jsontext.decode_untrusted(envelope.without("input").raw)
    shape = response_shape(fields, stamp.response_id, int(time.time()))
    return stamp.on({**shape, "status": ResponseStatus.QUEUED.value})


def _create(principal: Principal, request: BackgroundRequest, stamp: Stamp, response: Json) -> StoredResponse:
    model = request.envelope.model[:MAX_MODEL]
    session = session_create(principal=principal, request=SessionRequest(model=model, engine=ENGINE))
    has_stream = request.streamed or request.composed
    stream = log.stream_create(kind="response", tenant_id=principal.tenant_id) if has_stream else None
    return StoredResponse.objects.create(
        tenant_id=principal.tenant_id,
        api_key_id=principal.key_id,
        public_id=stamp.response_id,
        previous_id=stamp.previous_id,
        **_place_fields(request.place),
        model=model,
        background=True,
        input=request.own_input,
        request=secrets_seal(request.envelope.with_changes({"input": None, "stream": b"true"})).raw.decode(),
        body=body_text(response),
        end_user=request.state.end_user,
        session=session,
        stream=stream,
    )


def run_begin(principal: Principal, row: StoredResponse) -> None:
    """Accepts the prompt of a background response's run, in the transaction that creates the row."""
    assert row.session is not None

    def note_run(receipt: PromptReceipt) -> None:
        row.run_id = receipt.run_pk
        row.save(update_fields=["run_id"])

    prompt = Prompt(text=excerpt(row.input), metadata={RUN_MARK: row.public_id}, end_user=row.end_user)
    prompt_accept(principal=principal, public_id=row.session.public_id, prompt=prompt, on_accepted=note_run)
