"""The refusals of a real provider: requests are held against the request types of the official packages, and against
rules that the providers are known to enforce.

`refusal` returns the sentence with which a provider of the wire would refuse a request, None for one that it takes. The
scripted providers and the tests of conversions ask it about every request that a conversion makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from anthropic.types import message_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter, ValidationError

from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import WIRE_LIMITS, Limits

Json = dict[str, Any]

_TYPES: dict[Wire, tuple[Any, ...]] = {
    "openai-chat": (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "openai-responses": (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
    "anthropic": (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
    ),
}
EXTENSIONS: dict[Wire, frozenset[str]] = {
    "openai-chat": frozenset({"top_k", "thinking", "repetition_penalty"}),
    "openai-responses": frozenset(),
    "anthropic": frozenset({"temperature", "top_p", "top_k"}),
}
"""Fields beside the official ones that providers of the wire take."""

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")


class Refused(Exception):
    """A request that a provider refuses."""


def refusal(
    wire: Wire, body: Json, limits: Limits | None = None, *, extensions: frozenset[str] = frozenset()
) -> str | None:
    """Returns why a provider of the wire, with these limits, refuses the request; None if it takes it."""
    try:
        _types_check(wire, body, extensions | EXTENSIONS[wire])
        _RULES[wire](body, limits or WIRE_LIMITS[wire])
    except Refused as error:
        return str(error)
    return None


@cache
def _adapter(kind: Any) -> tuple[TypeAdapter[Any], frozenset[str]]:
    names: set[str] = set()
    for base in kind.__mro__ if hasattr(kind, "__mro__") else (kind,):
        names |= set(getattr(base, "__annotations__", {}))
    return TypeAdapter(kind), frozenset(names)


def _types_check(wire: Wire, body: Json, extensions: frozenset[str]) -> None:
    adapter, names = _adapter(_TYPES[wire][bool(body.get("stream"))])
    if unknown := sorted(set(body) - names - extensions):
        raise Refused(f"Unknown parameter: '{unknown[0]}'.")
    try:
        _exhaust(adapter.validate_python(_completed(wire, body)))
    except ValidationError as error:
        raise Refused(str(error)[:2000]) from None


def _completed(wire: Wire, body: Json) -> Json:
    """Returns the request with what the types require and the API does not: the id of an earlier answer's message, and
    an image's detail."""
    if wire != "openai-responses" or not isinstance(body.get("input"), list):
        return body
    return {**body, "input": [_completed_item(item) for item in body["input"]]}


def _completed_item(item: Json) -> Json:
    content = item.get("content")
    if item.get("role") == "assistant" and isinstance(content, list):
        return {"id": "msg_1", "status": "completed", **item}
    if isinstance(content, list):
        return {**item, "content": [{"detail": "auto", **p} if p.get("type") == "input_image" else p for p in content]}
    return item


def _exhaust(value: Any) -> None:
    """Reads every iterable of a validated value: only then are its items checked."""
    if isinstance(value, dict):
        for item in value.values():
            _exhaust(item)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for item in value:
            _exhaust(item)


def require(condition: object, sentence: str) -> None:
    if not condition:
        raise Refused(sentence)


def _bounds_check(body: Json, limits: Limits) -> None:
    for field, bound in limits.minimum.items():
        value = body.get(field)
        require(value is None or value >= bound, f"Invalid '{field}': expected a value >= {bound}, but got {value}.")
    for field, bound in limits.maximum.items():
        value = body.get(field)
        require(value is None or value <= bound, f"Invalid '{field}': expected a value <= {bound}, but got {value}.")
    for first, second in limits.exclusive:
        require(body.get(first) is None or body.get(second) is None, f"`{first}` and `{second}` cannot both be given.")
    for field in limits.refuses:
        require(field not in body, f"Unsupported parameter: '{field}'.")


def _stops_check(stops: Any, limits: Limits) -> None:
    given = stops if isinstance(stops, list) else [] if stops is None else [stops]
    require(limits.stops is None or len(given) <= limits.stops, "Too many stop sequences.")
    require(limits.blank_text or all(stop.strip() for stop in given), "Each stop sequence must contain non-whitespace.")


def _id_check(call_id: Any, limits: Limits) -> None:
    require(isinstance(call_id, str) and call_id, "A tool call has no id.")
    require(limits.call_id is None or limits.call_id.accepts(call_id), f"Tool call id was {call_id}: another form.")


def _name_check(name: Any, limits: Limits) -> None:
    longest = limits.tool_name_length or 64
    require(isinstance(name, str) and _NAME.match(name) and len(name) <= longest, f"Invalid tool name {name!r}.")


def _media_check(url: Any, limits: Limits) -> None:
    require(isinstance(url, str) and url, "An image has no address.")
    if url.startswith("data:"):
        found = re.match(r"data:([a-z]+/[\w.+-]+);base64,[A-Za-z0-9+/=_-]*\Z", url)
        require(found, f"Invalid data URL: {url[:60]}")
        assert found is not None
        known = limits.image_types
        is_image = found[1].startswith("image/")
        require(known is None or not is_image or found[1] in known, f"Unsupported image type {found[1]}.")


def _tools_check(body: Json, names: list[str], chosen: str | None, limits: Limits) -> None:
    for name in names:
        _name_check(name, limits)
    require(len(set(names)) == len(names), "Tool names must be unique.")
    require(names or "tools" not in body, "[] is too short - 'tools'")
    require(names or body.get("tool_choice") is None, "'tool_choice' is only allowed when 'tools' are specified.")
    require(names or body.get("parallel_tool_calls") is None, "'parallel_tool_calls' is only allowed with 'tools'.")
    require(chosen is None or chosen in names, f"Tool choice '{chosen}' not found in 'tools'.")


def _chat_check(body: Json, limits: Limits) -> None:
    messages = body["messages"]
    require(messages, "[] is too short - 'messages'")
    awaited: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            require(message["tool_call_id"] in awaited, "A message with role 'tool' must follow its tool call.")
            awaited.remove(message["tool_call_id"])
            continue
        require(not awaited, "An assistant message with 'tool_calls' must be followed by tool messages.")
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                if part["type"] == "image_url":
                    _media_check(part["image_url"]["url"], limits)
        calls = message.get("tool_calls") or []
        require(
            message["role"] != "assistant" or message.get("content") is not None or calls or message.get("refusal"),
            "No content.",
        )
        require("tool_calls" not in message or calls, "[] is too short - 'tool_calls'")
        for call in calls:
            _id_check(call["id"], limits)
            require(limits.signatures or "extra_content" not in call, "Unknown parameter: 'extra_content'.")
        if calls and limits.signatures == "required":
            require(calls[0].get("extra_content"), "Function call is missing a thought_signature.")
        awaited = [call["id"] for call in calls]
    require(not awaited, "An assistant message with 'tool_calls' must be followed by tool messages.")
    if limits.prefill == "prefix":
        require(messages[-1]["role"] != "assistant" or messages[-1].get("prefix"), "Expected last role User or Tool.")
    tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice")
    _tools_check(body, tools, choice["function"]["name"] if isinstance(choice, dict) else None, limits)
    _stops_check(body.get("stop"), limits)
    require(body.get("stream") or "stream_options" not in body, "'stream_options' is only allowed with 'stream'.")
    require(body.get("logprobs") or not body.get("top_logprobs"), "'top_logprobs' needs 'logprobs'.")
    require("max_tokens" not in body or "max_completion_tokens" not in body, "Both limits are set.")
    require(len(body.get("user") or "") <= (limits.user_length or 10**6), "'user' is too long.")
    _bounds_check(body, limits)


def _responses_check(body: Json, limits: Limits) -> None:
    items = body["input"]
    require(isinstance(items, str) or items, "'input' is empty.")
    pending: set[str] = set()
    for number, item in enumerate(items if isinstance(items, list) else ()):
        kind = item.get("type", "message")
        if kind in ("function_call", "custom_tool_call"):
            _id_check(item["call_id"], limits)
            pending.add(item["call_id"])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            require(item["call_id"] in pending, f"No tool call found for function call output {item['call_id']}.")
            pending.discard(item["call_id"])
        elif kind == "reasoning":
            following = items[number + 1] if number + 1 < len(items) else {}
            require(following.get("role", "assistant") == "assistant" and following, "'reasoning' without its item.")
        for part in item["content"] if isinstance(item.get("content"), list) else ():
            if part["type"] == "input_image":
                _media_check(part["image_url"], limits)
    require(not pending, f"No tool output found for function call {sorted(pending)}.")
    tools = [tool["name"] for tool in body.get("tools") or () if tool["type"] in ("function", "custom")]
    choice = body.get("tool_choice")
    _tools_check(body, tools, choice.get("name") if isinstance(choice, dict) else None, limits)
    require(len(body.get("user") or "") <= (limits.user_length or 10**6), "'user' is too long.")
    _bounds_check(body, limits)


def _blocks(content: Any) -> Iterator[Json]:
    yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _anthropic_block_check(block: Json, limits: Limits) -> None:
    if block["type"] == "text":
        require(block["text"].strip(), "text content blocks must contain non-whitespace text")
    elif block["type"] in ("image", "document") and block["source"]["type"] == "base64":
        known = limits.image_types if block["type"] == "image" else ("application/pdf",)
        require(
            known is None or block["source"]["media_type"] in known, f"Unsupported {block['source']['media_type']}."
        )
        require(re.fullmatch(r"[A-Za-z0-9+/=]*", block["source"]["data"]), "Invalid base64 data.")
    elif block["type"] == "tool_result" and isinstance(block.get("content"), list):
        for part in block["content"]:
            _anthropic_block_check(part, limits)


def _messages_check(body: Json, limits: Limits) -> None:
    messages = body["messages"]
    require(messages, "messages: at least one message is required")
    require(messages[0]["role"] == "user", 'messages: first message must use the "user" role')
    for block in _blocks(body.get("system") or []):
        _anthropic_block_check(block, limits)
    awaited: set[str] = set()
    for message in messages:
        require(message["content"], "messages: all messages must have non-empty content")
        blocks = list(_blocks(message["content"]))
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        require(set(results) == awaited, f"tool_use ids {sorted(awaited)} were found without tool_result blocks after.")
        kinds = [block["type"] for block in blocks]
        require("tool_result" not in kinds or kinds[: len(results)] == ["tool_result"] * len(results), "results first")
        calls = [block for block in blocks if block["type"] == "tool_use"]
        require(not calls or message["role"] == "assistant", "tool_use in a user's message")
        for block in blocks:
            _anthropic_block_check(block, limits)
        for call in calls:
            _id_check(call["id"], limits)
            _name_check(call["name"], limits)
        awaited = {call["id"] for call in calls}
        require(len(awaited) == len(calls), "tool_use ids must be unique")
    require(not awaited, "tool_use ids were found without tool_result blocks after.")
    if messages[-1]["role"] == "assistant":
        last = list(_blocks(messages[-1]["content"]))[-1]
        ending = last.get("text", "")
        require(ending == ending.rstrip(), "final assistant content cannot end with trailing whitespace")
    for tool in body.get("tools") or ():
        require(tool["input_schema"].get("type") == "object", "tools: input_schema.type: Field required")
    choice = body.get("tool_choice") or {}
    tools = [tool["name"] for tool in body.get("tools") or ()]
    _tools_check(body, tools, choice.get("name") if choice.get("type") == "tool" else None, limits)
    _stops_check(body.get("stop_sequences"), limits)
    _thinking_check(body)
    require(len((body.get("metadata") or {}).get("user_id") or "") <= 256, "metadata.user_id is too long")
    _bounds_check(body, limits)


def _thinking_check(body: Json) -> None:
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return
    require(1024 <= thinking["budget_tokens"] < body["max_tokens"], "max_tokens must be greater than the budget")
    require(body.get("temperature") in (None, 1), "`temperature` may only be 1 when thinking is enabled")
    forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    require(not forced, "Thinking may not be enabled when tool_choice forces tool use.")
    last = [message for message in body["messages"] if message["role"] == "assistant"][-1:]
    for message in last:
        blocks = list(_blocks(message["content"]))
        if any(block["type"] == "tool_use" for block in blocks):
            require(
                blocks[0]["type"] in ("thinking", "redacted_thinking"), "Expected `thinking`, but found `tool_use`."
            )


_RULES = {"openai-chat": _chat_check, "openai-responses": _responses_check, "anthropic": _messages_check}
