"""Starting, cancelling and deleting background completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, PayloadTooLarge
from core_app.ids import new_id
from events_app import log
from inference_app.catalogue.config import models_config
from inference_app.conversion.fields import THREAD, thread_check
from inference_app.converters import CONVERTERS
from inference_app.errors import NoProvider, ResponseNotFound
from inference_app.relay import Envelope, RequestKind
from inference_app.relay.targets import TARGETS
from responses_app.apps import ENGINE
from responses_app.completions.events import KIND
from responses_app.completions.wire import PATHS, completion_state
from responses_app.models import Kind, StoredResponse
from responses_app.request import MAX_END_USER, MAX_STORED_BYTES
from responses_app.services import MAX_MODEL, background_stop, responses_remove, run_begin
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.principal import Principal
from tenants_app.services.idempotency import Claim, idempotency_complete


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request to complete in the background. `headers` are those of the client that its provider gets."""

    kind: Kind
    envelope: Envelope
    headers: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None


def completion_start(*, principal: Principal, request: CompletionRequest) -> StoredResponse:
    """Starts a completion in the background: its row, its stream and its run are committed together.

    Raises BadRequest and PayloadTooLarge for a request that cannot be kept, ModelNotFound, and what the acceptance of a
    prompt raises: limits of sessions and of waiting runs.
    """
    _check(principal, request)
    with write_transaction():
        row = _create(principal, request)
        if request.claim is not None:
            body = jsontext.encode_text(completion_state(row))
            idempotency_complete(claim=request.claim, status=202, headers={}, body=body)
        run_begin(principal, row)
    return row


def completion_get(principal: Principal, kind: str | None, public_id: str) -> StoredResponse:
    """Returns the tenant's completion of that id and kind, of either kind for None. Raises ResponseNotFound."""
    kinds = PATHS if kind is None else (kind,)
    rows = StoredResponse.objects.filter(tenant_id=principal.tenant_id, kind__in=kinds, public_id=public_id[:65])
    if (found := rows.first()) is None:
        raise ResponseNotFound(f"There is no completion '{public_id[:100]}'.", field="id")
    return found


def completion_cancel(*, principal: Principal, kind: str | None, public_id: str) -> StoredResponse:
    """Cancels a completion, whatever its run is doing; one that has ended stays as it is."""
    row = completion_get(principal, kind, public_id)
    background_stop(principal, row)
    return row


def completion_delete(*, principal: Principal, kind: str | None, public_id: str) -> StoredResponse:
    """Removes a completion and everything that was kept for it, and returns what it was; one that still runs is
    cancelled first."""
    row = completion_get(principal, kind, public_id)
    responses_remove([row], actor=principal.actor)
    return row


def _check(principal: Principal, request: CompletionRequest) -> None:
    envelope = request.envelope
    if envelope.size > MAX_STORED_BYTES:
        raise PayloadTooLarge(f"A request of more than {MAX_STORED_BYTES} bytes does not run in the background.")
    messages = envelope.fields.get("messages")
    if messages is None or bytes(memoryview(messages)[:1]) != b"[":
        raise BadRequest("'messages' is required and must be a list.", field="messages")
    if request.kind == Kind.MESSAGES:
        # A thread is kept for foreground messages only, and their clients send the whole conversation instead.
        thread_check(envelope.value_of(THREAD))
    kind: RequestKind = "messages" if request.kind == Kind.MESSAGES else "chat"
    try:
        TARGETS.targets_for(models_config(), envelope.model, kind, CONVERTERS[kind], principal)
    except NoProvider:
        # That no provider can be asked at the moment is no reason to refuse: the run waits.
        return


def _create(principal: Principal, request: CompletionRequest) -> StoredResponse:
    envelope = request.envelope
    model = envelope.model[:MAX_MODEL]
    session = session_create(principal=principal, request=SessionRequest(model=model, engine=ENGINE))
    about = {"headers": dict(request.headers)}
    return StoredResponse.objects.create(
        tenant_id=principal.tenant_id,
        api_key_id=principal.key_id,
        public_id=new_id("bg"),
        kind=request.kind,
        model=model,
        background=True,
        input=bytes(memoryview(envelope.fields["messages"])).decode(),
        request=envelope.without("messages").raw.decode(),
        body=jsontext.encode_text(about),
        end_user=_end_user(envelope, principal),
        session=session,
        stream=log.stream_create(kind=KIND, tenant_id=principal.tenant_id),
    )


def _end_user(envelope: Envelope, principal: Principal) -> str | None:
    """Returns the person that the completion is for: the token's, else the one that the client names."""
    metadata = envelope.value_of("metadata")
    named: Any = principal.end_user or envelope.value_of("safety_identifier") or envelope.value_of("user")
    if not named and isinstance(metadata, dict):
        named = metadata.get("user_id")
    return jsontext.clean_text(named)[:MAX_END_USER] if isinstance(named, str) and named else None
