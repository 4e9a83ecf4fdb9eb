"""The request as a provider gets it: the whole conversation in `input`, and nothing of the gateway's own fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core_app import database
from inference_app.relay import Envelope
from inference_app.relay.large_bodies import run_for_size
from responses_app.compaction import compactions_open, may_hold_compactions
from responses_app.hosted.items import MARK, model_items_text
from responses_app.items import input_items, join_items
from responses_app.references import has_references, references_resolve
from responses_app.request import STATE_FIELDS, StateRequest
from responses_app.selectors import ConversationPlace, chain_items, conversation_read
from tenants_app.principal import Principal


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready for a provider, the items of its own input, which are what is stored of it (nothing where
    it is not), and the place in its conversation."""

    envelope: Envelope
    own_input: str
    place: ConversationPlace | None = None


async def request_prepare(
    envelope: Envelope, state: StateRequest, principal: Principal, *, composed: bool = False
) -> Prepared:
    """Expands the conversation; of a `composed` response, items of hosted tools stay as they are. Raises BadRequest
    where the responses before it cannot be continued."""
    place: ConversationPlace | None = None
    history: list[str] = []
    if state.conversation_id is not None:
        place, history = await database.run(conversation_read, principal, state.conversation_id)
    elif state.previous_id is not None:
        history = await database.run(chain_items, principal.tenant_id, state.previous_id)
    size = envelope.size + sum(map(len, history))
    prepared = await run_for_size(size, _prepare, envelope, state, history, principal.tenant_id, place)
    given = prepared.envelope.fields.get("input")
    if given is None:
        return prepared
    whole = resolved = bytes(memoryview(given))
    if has_references(whole):
        resolved = await database.run(references_resolve, whole, principal.tenant_id)
    if not composed and MARK in resolved:
        resolved = await run_for_size(len(resolved), model_items_text, resolved)
    if resolved is whole:
        return prepared
    return replace(prepared, envelope=prepared.envelope.with_changes({"input": resolved}))


def _prepare(
    envelope: Envelope, state: StateRequest, history: list[str], tenant_id: int, place: ConversationPlace | None
) -> Prepared:
    given = envelope.fields.get("input")
    changes: dict[str, bytes | None] = {name: None for name in STATE_FIELDS if name in envelope.fields}
    if envelope.value_of("store") is not False:
        # The gateway stores for its tenants; a provider keeps nothing beside it.
        changes["store"] = b"false"
    if not state.store and not history and (given is None or not may_hold_compactions(given)):
        return Prepared(envelope.with_changes(changes), "", place)
    own = input_items(given)
    whole = join_items([*history, own]) if history else own.encode()
    opened = compactions_open(whole, tenant_id)
    if history or opened is not whole:
        changes["input"] = opened
    return Prepared(envelope.with_changes(changes), own, place)
