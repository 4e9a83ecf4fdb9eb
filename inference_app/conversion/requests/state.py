"""State of earlier turns in the hub's messages: what a provider wants back, out of what the client returned.

An assistant's message has `reasoning_blocks` (`text` and `seal`), and a call with a signature Gemini's `extra_content`.
Each wire's converter takes what is its own; `drop_state` removes the rest.
"""

from __future__ import annotations

from typing import Any

from inference_app.conversion.call_ids import split_call_id
from inference_app.conversion.sealed_reasoning import blocks_of_message
from inference_app.conversion.validation import Json

BLOCKS = "reasoning_blocks"
_CHAT_FIELDS = ("reasoning_details", "thinking_blocks")


def restore_state(messages: list[Json]) -> list[Json]:
    """Returns the messages with the ids that the provider gave, and with the signatures that the client's ids carry;
    the same list if no id carries one."""
    for message in messages:
        if not isinstance(message, dict) or not ("tool_call_id" in message or "tool_calls" in message):
            continue
        if _restore_message(message) is not message:
            return [_restore_message(message) for message in messages]
    return messages


def restore_chat_state(messages: Any) -> Any:
    """Returns a chat client's messages with the hub's `reasoning_blocks`; the same list if there are none."""
    if not isinstance(messages, list):
        return messages
    for message in messages:
        if isinstance(message, dict) and ("reasoning_details" in message or "thinking_blocks" in message):
            return [_with_blocks(message) if isinstance(message, dict) else message for message in messages]
    return messages


def _with_blocks(message: Json) -> Json:
    if message.get("role") != "assistant" or message.keys().isdisjoint(_CHAT_FIELDS):
        return message
    rest = {name: value for name, value in message.items() if name not in _CHAT_FIELDS}
    return {**rest, BLOCKS: blocks_of_message(message)}


def _restore_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    call_id = message.get("tool_call_id")
    if isinstance(call_id, str):
        own, signature = split_call_id(call_id)
        return message if signature is None else {**message, "tool_call_id": own}
    calls = message.get("tool_calls")
    if calls is None or not isinstance(calls, list) or not any(map(_is_signed, calls)):
        return message
    return {**message, "tool_calls": [_restore_call(call) for call in calls]}


def _is_signed(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("id"), str) and split_call_id(call["id"])[1] is not None


def _restore_call(call: Any) -> Any:
    if not _is_signed(call):
        return call
    own, signature = split_call_id(call["id"])
    return {**call, "id": own, "extra_content": {"google": {"thought_signature": signature}}}
