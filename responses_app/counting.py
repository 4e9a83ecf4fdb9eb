"""The tokens of an input, estimated with everything that it continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion import estimate_response_tokens
from responses_app.selectors import chain_items, conversation_read
from responses_app.services import model_check
from tenants_app.principal import Principal


def input_tokens_estimate(principal: Principal, given: Mapping[str, Any]) -> int:
    """Returns the estimate. Raises BadRequest, ModelNotFound, ConversationNotFound, PreviousNotFound."""
    if (model := _text(given, "model")) is not None:
        model_check(principal, model)
    own = given.get("input")
    if not isinstance(own, str | list | None):
        raise BadRequest("'input' must be a text or a list of items.", field="input")
    own_items = [{"role": "user", "content": own}] if isinstance(own, str) else own or []
    earlier = [item for text in _history(principal, given) for item in jsontext.decode(text)]
    return estimate_response_tokens(dict(given), [*earlier, *own_items])


def _history(principal: Principal, given: Mapping[str, Any]) -> list[str]:
    conversation = given.get("conversation")
    named = conversation.get("id") if isinstance(conversation, dict) else conversation
    if conversation is not None and not isinstance(named, str):
        raise BadRequest("'conversation' must be an id, or an object with an 'id'.", field="conversation")
    if isinstance(named, str):
        return conversation_read(principal, named)[1]
    previous = _text(given, "previous_response_id")
    return [] if previous is None else chain_items(principal.tenant_id, previous)


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if not isinstance(value, str | None):
        raise BadRequest(f"'{name}' must be a text.", field=name)
    return value or None
