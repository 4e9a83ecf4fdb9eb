"""Request converter: chat completions to Anthropic Messages.

Leading system messages become `system`. Later ones keep their position, as user text in `<system>` tags, because older
models reject the role there. Tool results are merged into the user message that follows. `cache_control` on a part or
a tool is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core_app.errors import BadRequest
from inference_app.conversion.requests.chat_blocks import arguments_of, blocks_of, pick_cache_control
from inference_app.conversion.requests.state import BLOCKS
from inference_app.conversion.sealed_reasoning import blocks_of_wire
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    optional_array,
    optional_object,
    pick_fields,
    require_nonempty,
    require_object,
    unknown_fields,
)

DEFAULT_MAX_TOKENS = 8192
"""Limit for requests without one, which Anthropic requires. Every model since 2024 supports this length."""

MAPPED = frozenset(
    {
        "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "max_tokens",
        "max_completion_tokens", "reasoning_effort", "stop", "user", "stream",
    }
)  # fmt: skip
LEFT_OUT = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "metadata", "modalities",
        "moderation", "n", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "seed", "service_tier", "store", "stream_options",
        "top_logprobs", "verbosity", "web_search_options",
    }
)  # fmt: skip
"""Fields that Messages cannot express."""

_KNOWN = MAPPED | LEFT_OUT

_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def chat_to_messages(chat: Json) -> tuple[Json, tuple[str, ...]]:
    """Returns the Messages request and the names of the dropped tools."""
    tools, dropped = _tools(chat)
    system, others = _system(list(iter_objects(chat.get("messages"), "messages")))
    body: Json = {"model": chat.get("model"), "max_tokens": _limit(chat), **system, "messages": _messages(others)}
    if tools:
        tools, choice = _choice(chat, tools, dropped)
        body |= {"tools": tools, **choice} if tools else {}
    body |= _fields(chat)
    body |= unknown_fields(chat, _KNOWN, body)
    return ({**body, "stream": True} if chat.get("stream") else body), dropped


def _limit(chat: Json) -> Any:
    """Returns the limit of the completion, to which a budget for thinking is added if there is no limit."""
    given = chat.get("max_completion_tokens") or chat.get("max_tokens")
    thinking = chat.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    budget = budget if isinstance(budget, int) else 0
    if given is None:
        return DEFAULT_MAX_TOKENS + budget
    return given + budget if isinstance(given, int) and given <= budget else given


def _system(messages: list[tuple[str, Json]]) -> tuple[Json, list[tuple[str, Json]]]:
    """Returns `system` from the leading system messages, and the messages after them."""
    leading = 0
    while leading < len(messages) and messages[leading][1].get("role") in ("system", "developer"):
        leading += 1
    blocks = [
        block for path, message in messages[:leading] for block in blocks_of(message.get("content"), f"{path}.content")
    ]
    if not blocks:
        return {}, messages[leading:]
    plain = len(blocks) == 1 and set(blocks[0]) == {"type", "text"}
    return {"system": blocks[0]["text"] if plain else blocks}, messages[leading:]


def _messages(messages: list[tuple[str, Json]]) -> list[Json]:
    result: list[Json] = []
    for path, message in messages:
        role = message.get("role")
        if role == "tool":
            _add_tool_result(result, [_tool_result(path, message)])
        elif role == "assistant":
            if blocks := list(_assistant_blocks(path, message)):
                result.append({"role": "assistant", "content": _simplify(blocks)})
        elif role == "user":
            _add_user_blocks(result, list(blocks_of(message.get("content"), f"{path}.content")))
        elif role in ("system", "developer"):
            _add_user_blocks(result, list(_tag_system_text(blocks_of(message.get("content"), f"{path}.content"))))
        else:
            raise field_error(f"{path}.role", "must be system, developer, user, assistant or tool.")
    return result


def _add_tool_result(result: list[Json], blocks: list[Json]) -> None:
    """Adds a tool result to the user message with the previous results, or to a new one."""
    if result and result[-1]["role"] == "user" and _is_result(result[-1]["content"]):
        result[-1]["content"] += blocks
    else:
        result.append({"role": "user", "content": blocks})


def _add_user_blocks(result: list[Json], blocks: list[Json]) -> None:
    """Adds user blocks to the message with the tool results before them, or to a new one."""
    if not blocks:
        return
    if result and result[-1]["role"] == "user" and _is_result(result[-1]["content"]):
        result[-1]["content"] += blocks
    else:
        result.append({"role": "user", "content": _simplify(blocks)})


def _is_result(content: Any) -> bool:
    return isinstance(content, list) and content[-1]["type"] == "tool_result"


def _simplify(blocks: list[Json]) -> str | list[Json]:
    only = blocks[0]
    return only["text"] if len(blocks) == 1 and set(only) == {"type", "text"} else blocks


def _tag_system_text(blocks: Iterator[Json]) -> Iterator[Json]:
    for block in blocks:
        yield {**block, "text": f"<system>\n{block.get('text', '')}\n</system>"}


def _tool_result(path: str, message: Json) -> Json:
    call_id = require_nonempty(message.get("tool_call_id"), f"{path}.tool_call_id")
    content = _simplify(list(blocks_of(message.get("content"), f"{path}.content")) or [{"type": "text", "text": ""}])
    return {
        "type": "tool_result",
        "tool_use_id": call_id,
        "content": content,
        **pick_cache_control(message),
    }


def _assistant_blocks(path: str, message: Json) -> Iterator[Json]:
    if BLOCKS in message:
        yield from map(_thinking, blocks_of_wire(message[BLOCKS] or (), "anthropic"))
    yield from blocks_of(message.get("content"), f"{path}.content")
    if message.get("refusal"):
        yield {"type": "text", "text": message["refusal"]}
    for call_path, call in iter_objects(message.get("tool_calls"), f"{path}.tool_calls"):
        function = require_object(call.get("function"), f"{call_path}.function")
        yield {
            "type": "tool_use",
            "id": require_nonempty(call.get("id"), f"{call_path}.id"),
            "name": require_nonempty(function.get("name"), f"{call_path}.function.name"),
            "input": arguments_of(function.get("arguments")),
        }


def _thinking(block: Json) -> Json:
    seal = block["seal"]
    if "data" in seal:
        return {"type": "redacted_thinking", "data": seal["data"]}
    return {"type": "thinking", "thinking": block["text"], "signature": seal.get("signature", "")}


def _tools(chat: Json) -> tuple[list[Json], tuple[str, ...]]:
    tools, dropped = [], []
    for path, tool in iter_objects(chat.get("tools"), "tools"):
        if tool.get("type") != "function":
            inner = tool.get(str(tool.get("type")))
            dropped.append(str(inner.get("name")) if isinstance(inner, dict) else str(tool.get("type")))
            continue
        function = require_object(tool.get("function"), f"{path}.function")
        name = require_nonempty(function.get("name"), f"{path}.function.name")
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        if isinstance(schema, dict) and "type" not in schema:
            schema = {"type": "object", **schema}
        tools.append(
            {
                "name": name,
                **pick_fields(function, ("description",)),
                "input_schema": schema,
                **pick_fields(function, ("strict",)),
                **pick_cache_control(tool),
            }
        )
    return tools, tuple(dict.fromkeys(dropped))


def _choice(chat: Json, tools: list[Json], dropped: tuple[str, ...]) -> tuple[list[Json], Json]:
    """Returns the tools that the choice allows, and `tool_choice`."""
    wanted = chat.get("tool_choice")
    choice: Json | None = None
    if isinstance(wanted, dict) and wanted.get("type") == "allowed_tools":
        allowed = require_object(wanted.get("allowed_tools"), "tool_choice.allowed_tools")
        names = [
            _chosen_name(tool) for _, tool in iter_objects(allowed.get("tools"), "tool_choice.allowed_tools.tools")
        ]
        tools = [tool for tool in tools if tool["name"] in names]
        wanted = allowed.get("mode") or "auto"
    if isinstance(wanted, dict):
        name = require_nonempty(_chosen_name(wanted), "tool_choice.function.name")
        if name not in dropped:
            choice = {"type": "tool", "name": name}
    elif isinstance(wanted, str):
        if wanted not in _CHOICES:
            raise BadRequest("tool_choice must be auto, none, required or a function.", field="tool_choice")
        choice = {"type": _CHOICES[wanted]}
    if chat.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return tools, {} if choice is None else {"tool_choice": choice}


def _chosen_name(choice: Json) -> Any:
    """Returns the name in chat's choice of a function or of a free-form tool."""
    inner = choice.get(str(choice.get("type")))
    return inner.get("name") if isinstance(inner, dict) else choice.get("name")


def _fields(chat: Json) -> Json:
    fields: Json = {}
    if (stop := chat.get("stop")) is not None:
        fields["stop_sequences"] = [stop] if isinstance(stop, str) else optional_array(stop, "stop")
    if chat.get("user"):
        fields["metadata"] = {"user_id": chat["user"]}
    output: Json = {}
    if isinstance(effort := chat.get("reasoning_effort"), str) and effort in _EFFORTS:
        output["effort"] = _EFFORTS[effort]
    wanted = optional_object(chat.get("response_format"), "response_format")
    if wanted.get("type") == "json_schema":
        schema = require_object(wanted.get("json_schema"), "response_format.json_schema").get("schema")
        output["format"] = {"type": "json_schema", "schema": schema}
    return {**fields, **({"output_config": output} if output else {})}
