"""Request converter: Anthropic Messages to chat completions.

Blocks become parts. Tool results become tool messages, before the other content of the user's message. Thinking (except
for models that require it), blocks of hosted tools and `cache_control` are left out. Unknown fields are passed on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from inference_app.conversion.exact_json import object_text
from inference_app.conversion.requests.blocks import block_parts, blocks_of, parts_of
from inference_app.conversion.requests.call_order import order_tool_results
from inference_app.conversion.requests.content import (
    content_of,
    media_of,
    text_of,
    text_part,
    tool_media_parts,
    tool_message,
)
from inference_app.conversion.requests.reasoning import add_reasoning, requires_reasoning
from inference_app.conversion.requests.state import BLOCKS
from inference_app.conversion.requests.summaries import show_summary
from inference_app.conversion.requests.token_limit import token_limit
from inference_app.conversion.sealed_reasoning import open_token
from inference_app.conversion.tool_names import Origin, ToolNames
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    optional_array,
    optional_object,
    pick_fields,
    require_nonempty,
    require_object,
    require_string,
    unknown_fields,
)

MAPPED = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "stop_sequences", "max_tokens", "metadata",
        "output_config", "stream",
    }
)  # fmt: skip
LEFT_OUT = frozenset(
    {
        "cache_control", "context_management", "diagnostics", "fallbacks", "inference_geo", "mcp_servers",
        "service_tier", "speed", "thinking", "top_k", "user_profile_id", "workspace_id",
    }
)  # fmt: skip
"""Fields that chat cannot express. `thinking` is a budget, and models without reasoning would reject an effort."""

_KNOWN = MAPPED | LEFT_OUT

MAX_USER = 64
_PSEUDO_HEADERS = re.compile(r"\A(?:x-anthropic-[\w-]*:[^\n]*(?:\n+|\Z))+", re.IGNORECASE)
_EFFORTS = {"max": "high"}
"""Efforts of Anthropic that OpenAI's models refuse."""

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def messages_to_chat(body: Json, names: ToolNames) -> tuple[Json, tuple[str, ...]]:
    """Returns the chat request and the names of the dropped tools."""
    tools, dropped, hosted = _tools(body, names)
    system = _system_text(body.get("system"))
    messages: list[Json] = [{"role": "system", "content": system}] if system else []
    thinking = requires_reasoning(body.get("model"))
    for path, message in iter_objects(show_summary(optional_array(body.get("messages"), "messages")), "messages"):
        messages += _messages(path, message, names, thinking=thinking)
    chat: Json = {"model": body.get("model"), "messages": order_tool_results(messages)}
    if body.get("max_tokens") is not None:
        chat |= token_limit(body.get("model"), body["max_tokens"])
    chat |= _fields(body)
    if tools:
        chat |= {"tools": tools, **_choice(body.get("tool_choice"), names, hosted)}
    chat |= unknown_fields(body, _KNOWN, chat)
    if body.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat, tuple(dict.fromkeys(dropped))


def _system_text(system: Any) -> str:
    """Returns the system's text. Claude Code begins it with a pseudo-header, whose hash changes in each request and
    would defeat every cache of the prompt's beginning."""
    texts = (
        _PSEUDO_HEADERS.sub("", part["text"]) for part in parts_of(system or [], "system") if part["type"] == "text"
    )
    return text_of([text_part(text) for text in texts if text])


def _messages(path: str, message: Json, names: ToolNames, *, thinking: bool) -> list[Json]:
    role = message.get("role")
    blocks = list(blocks_of(message.get("content"), f"{path}.content"))
    if role == "assistant":
        return list(_assistant(blocks, names, thinking=thinking))
    if role == "user":
        return list(_user(blocks))
    if role == "system":
        parts = list(parts_of(message.get("content"), f"{path}.content"))
        return [{"role": "system", "content": text_of(parts)}]
    raise field_error(f"{path}.role", "must be user, assistant or system.")


def _assistant(blocks: list[tuple[str, Json]], names: ToolNames, *, thinking: bool) -> Iterator[Json]:
    text = "".join(
        require_string(block.get("text"), f"{path}.text") for path, block in blocks if block["type"] == "text"
    )
    calls = [_call(path, block, names) for path, block in blocks if block["type"] == "tool_use"]
    if text or calls:
        message: Json = {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}
        if sealed := list(_sealed_blocks(blocks)):
            message[BLOCKS] = sealed
        if thinking:
            add_reasoning(message, "\n\n".join(_thinking_texts(blocks)))
        yield message


def _thinking_texts(blocks: list[tuple[str, Json]]) -> Iterator[str]:
    for path, block in blocks:
        if block["type"] == "thinking":
            yield require_string(block.get("thinking"), f"{path}.thinking")


def _sealed_blocks(blocks: list[tuple[str, Json]]) -> Iterator[Json]:
    """Yields the reasoning that a provider of another wire has sealed."""
    for path, block in blocks:
        if block["type"] == "thinking" and (seal := open_token(block.get("signature"))) is not None:
            yield {"text": require_string(block.get("thinking"), f"{path}.thinking"), "seal": seal}
        elif block["type"] == "redacted_thinking" and (seal := open_token(block.get("data"))) is not None:
            yield {"text": "", "seal": seal}


def _call(path: str, block: Json, names: ToolNames) -> Json:
    arguments = object_text(optional_object(block.get("input"), f"{path}.input"))
    name = names.wire_name(require_nonempty(block.get("name"), f"{path}.name"))
    call_id = require_nonempty(block.get("id"), f"{path}.id")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _user(blocks: list[tuple[str, Json]]) -> Iterator[Json]:
    parts: list[Json] = []
    for path, block in blocks:
        if block["type"] == "tool_result":
            message, media = _tool_result(path, block)
            yield message
            parts += tool_media_parts(message["tool_call_id"], media)
        else:
            parts += block_parts(path, block)
    if parts:
        yield {"role": "user", "content": content_of(parts)}


def _tool_result(path: str, block: Json) -> tuple[Json, list[Json]]:
    """Returns the tool message and its media. Chat has no error flag, so the text of an error says so."""
    parts = list(parts_of(block.get("content") or [], f"{path}.content"))
    if block.get("is_error") is True and not text_of(parts).lower().startswith("error"):
        parts = [text_part(f"Error: {text_of(parts)}"), *media_of(parts)]
    return tool_message(require_nonempty(block.get("tool_use_id"), f"{path}.tool_use_id"), parts), media_of(parts)


def _fields(body: Json) -> Json:
    fields: Json = {}
    if body.get("stop_sequences"):
        fields["stop"] = body["stop_sequences"]
    if user := optional_object(body.get("metadata"), "metadata").get("user_id"):
        fields["user"] = shorten_user(require_string(user, "metadata.user_id"), MAX_USER)
    output = optional_object(body.get("output_config"), "output_config")
    if output.get("effort"):
        fields["reasoning_effort"] = _EFFORTS.get(str(output["effort"]), output["effort"])
    wanted = optional_object(output.get("format"), "output_config.format")
    if wanted.get("type") == "json_schema":
        schema = {"name": "answer", **pick_fields(wanted, ("schema",))}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields


def shorten_user(user: str, limit: int) -> str:
    """Returns the id, or its hash if it is too long for some providers: assistants send over 100 characters."""
    return user if len(user) <= limit else hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()


def _tools(body: Json, names: ToolNames) -> tuple[list[Json], list[str], list[str]]:
    """Returns functions for the client's own tools, and the types and names of the tools that the provider defines,
    which are dropped."""
    tools, dropped, hosted = [], [], []
    for path, tool in iter_objects(body.get("tools"), "tools"):
        if tool.get("type") not in (None, "custom"):
            dropped.append(require_string(tool["type"], f"{path}.type"))
            if isinstance(tool.get("name"), str):
                hosted.append(tool["name"])
            continue
        name = names.add(Origin(require_nonempty(tool.get("name"), f"{path}.name")))
        schema = require_object(tool.get("input_schema"), f"{path}.input_schema")
        function = {
            "name": name,
            **pick_fields(tool, ("description",)),
            "parameters": schema,
            **pick_fields(tool, ("strict",)),
        }
        tools.append({"type": "function", "function": function})
    for path, server in iter_objects(body.get("mcp_servers"), "mcp_servers"):
        dropped.append(f"mcp:{require_string(server.get('name') or '', f'{path}.name')}")
    return tools, dropped, hosted


def _choice(wanted: Any, names: ToolNames, hosted: list[str]) -> Json:
    choice = optional_object(wanted, "tool_choice")
    fields: Json = {}
    if choice.get("type") == "tool":
        given = require_nonempty(choice.get("name"), "tool_choice.name")
        if given not in hosted:
            fields["tool_choice"] = {"type": "function", "function": {"name": names.wire_name(given)}}
    elif choice:
        if require_string(choice.get("type"), "tool_choice.type") not in _CHOICES:
            raise field_error("tool_choice.type", "must be auto, any, tool or none.")
        fields["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use") is True:
        fields["parallel_tool_calls"] = False
    return fields
