"""Thinking of earlier responses on its way back to the provider that made it.

A provider gets its signatures and encrypted reasoning as chat's `reasoning_details`, out of which the conversion makes
its own form, and the field of its chat wire that has the reasoning as text, if it had one. Thinking of another provider
is left out: it could not be checked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import ModelResponse, ThinkingPart
from pydantic_ai.profiles import DEFAULT_THINKING_TAGS

from agents_app.provider_model.profiles import Profile
from inference_app.catalogue.config import Wire
from inference_app.conversion.sealed_reasoning import details_of

Json = dict[str, Any]

SEAL = "seal"
"""The provider detail of a part that holds a seal (`inference_app.conversion.sealed_reasoning`)."""

IN_TEXT = "content"
"""The id of thinking that came in tags within the text."""

REDACTED = "redacted_thinking"
_ENCRYPTED_ID = "rs_"
_VENDORS = {"anthropic": "anthropic"}
"""The name that thinking of a wire had before the provider's own was recorded."""


def is_own(part: ThinkingPart, provider: str, wire: Wire) -> bool:
    """True if the provider itself made the thinking."""
    return part.provider_name is not None and part.provider_name in (provider, _VENDORS.get(wire))


def sealed_fields(parts: Sequence[ThinkingPart]) -> Json:
    """Returns the fields of an assistant's message with the seals of the parts: `reasoning_details`, and for Gemini the
    signature of a text."""
    details: list[Json] = []
    fields: Json = {}
    for part in parts:
        seal = _seal_of(part)
        if seal is not None and seal["format"] == "google":
            fields["extra_content"] = {"google": {"thought_signature": seal["signature"]}}
        elif seal is not None:
            details += details_of(seal, part.content, len(details))
    return {**fields, "reasoning_details": details} if details else fields


def _seal_of(part: ThinkingPart) -> Json | None:
    seal = (part.provider_details or {}).get(SEAL)
    if isinstance(seal, dict):
        return seal
    if not part.signature:
        return None
    # As it was stored by the library's models for the vendors' SDKs.
    if part.id == REDACTED:
        return {"format": "anthropic", "data": part.signature}
    if part.id is not None and part.id.startswith(_ENCRYPTED_ID):
        return {"format": "openai", "id": part.id, "encrypted_content": part.signature}
    return {"format": "anthropic", "signature": part.signature}


def field_of(part: ThinkingPart, profile: Profile, provider: str) -> str | None:
    """Returns the field of a chat message in which the thinking goes back."""
    field = profile.get("openai_chat_thinking_field")
    way = profile.get("openai_chat_send_back_thinking_parts", "auto")
    if way == "field":
        return field
    named = part.id and part.id != IN_TEXT and part.provider_name == provider
    return part.id if way == "auto" and named and field in (None, part.id) else None


def text_of(part: ThinkingPart, profile: Profile) -> str | None:
    """Returns the thinking in the tags in which it came; None if it came otherwise."""
    if part.id != IN_TEXT or profile.get("openai_chat_send_back_thinking_parts", "auto") not in ("auto", "tags"):
        return None
    start, end = profile.get("thinking_tags", DEFAULT_THINKING_TAGS)
    return f"{start}\n{part.content}\n{end}"


def fill_missing(messages: Sequence[Json], profile: Profile, *, reasons: bool, had_thought: int | None) -> None:
    """Sets the field of reasoning on calls without it, which some providers refuse while they reason. `had_thought` is
    the index of the first message after which the model has thought, None if it never has."""
    way, field = profile.get("openai_chat_send_back_thinking_parts", "auto"), profile.get("openai_chat_thinking_field")
    if way == "field" and field is not None:
        if reasons and profile.get("openai_chat_thinking_requires_field_on_tool_calls", False):
            had_thought = 0
        first = len(messages) if had_thought is None else had_thought
    elif way == "auto":
        sent = {name for message in messages for name in (field, "reasoning", "reasoning_content") if name in message}
        if len(sent) != 1:
            return
        (field,) = sent
        first = 1 + max((at for at, message in enumerate(messages) if message["role"] == "user"), default=-1)
    else:
        return
    for message in messages[first:]:
        if message["role"] == "assistant" and message.get("tool_calls"):
            message.setdefault(field, "")


def has_thinking(response: ModelResponse) -> bool:
    """True if the response has any thinking."""
    return any(isinstance(part, ThinkingPart) for part in response.parts)
