"""Request converter: Responses API to chat completions.

Fields of both APIs and unknown fields, which may be the provider's, are passed on unchanged. LEFT_OUT and
docs/conversions.md list the fields that chat cannot express.
"""

from __future__ import annotations

from typing import Any

from inference_app.conversion.requests.reasoning import requires_reasoning
from inference_app.conversion.requests.responses_items import InputMessages, instructions_text
from inference_app.conversion.requests.responses_tools import ChatTools
from inference_app.conversion.requests.token_limit import token_limit
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.validation import (
    Json,
    iter_objects,
    optional_object,
    pick_fields,
    require_object,
    unknown_fields,
)

MAPPED = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "text", "max_output_tokens", "reasoning",
        "parallel_tool_calls", "store", "include", "stream",
    }
)  # fmt: skip
LEFT_OUT = frozenset(
    {
        "background", "client_metadata", "context_management", "image", "max_tool_calls", "moderation",
        "previous_response_id", "prompt_cache_options", "stream_options", "truncation", "access_programs",
    }
)  # fmt: skip
"""Fields that chat cannot express: they control the Responses API itself."""

_KNOWN = MAPPED | LEFT_OUT

_LOGPROBS = "message.output_text.logprobs"


def responses_to_chat(body: Json, names: ToolNames) -> tuple[Json, tuple[str, ...]]:
    """Returns the chat request and the names of the dropped tools."""
    tools = _tools(body, names)
    chat: Json = {"model": body.get("model"), "messages": _messages(body, names)}
    chat |= _limits(body) | _format(body) | _tool_fields(body, tools)
    chat |= unknown_fields(body, _KNOWN, chat)
    if not chat.get("logprobs"):
        # The Responses API accepts `top_logprobs` without `logprobs`, chat rejects it.
        chat.pop("top_logprobs", None)
    if body.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat, tuple(dict.fromkeys(tools.dropped))


def _messages(body: Json, names: ToolNames) -> list[Json]:
    messages = InputMessages(names, thinking=requires_reasoning(body.get("model"))).convert(body.get("input"))
    instructions = instructions_text(body.get("instructions"))
    return [{"role": "system", "content": instructions}, *messages] if instructions else messages


def _tools(body: Json, names: ToolNames) -> ChatTools:
    """Returns the tools of the request and of the `additional_tools` items of its input."""
    tools = ChatTools(names)
    tools.add(body.get("tools"), "tools")
    if isinstance(body.get("input"), list):
        for path, item in iter_objects(body["input"], "input"):
            if item.get("type") == "additional_tools":
                tools.add(item.get("tools"), f"{path}.tools")
    return tools


def _tool_fields(body: Json, tools: ChatTools) -> Json:
    """Returns tools, choice and parallelism; nothing without tools, because some providers reject the rest alone."""
    choice = tools.choice(body.get("tool_choice"))
    if not tools.tools:
        return {}
    return {"tools": tools.tools, **choice, **pick_fields(body, ("parallel_tool_calls",))}


def _limits(body: Json) -> Json:
    fields: Json = {}
    if body.get("max_output_tokens") is not None:
        fields |= token_limit(body.get("model"), body["max_output_tokens"])
    if effort := optional_object(body.get("reasoning"), "reasoning").get("effort"):
        fields["reasoning_effort"] = effort
    if body.get("store") is True:
        # False is chat's default.
        fields["store"] = True
    include = body.get("include")
    if isinstance(include, list) and _LOGPROBS in include:
        fields["logprobs"] = True
    return fields


def _format(body: Json) -> Json:
    text = optional_object(body.get("text"), "text")
    fields = pick_fields(text, ("verbosity",))
    wanted: Any = text.get("format")
    if wanted is None or require_object(wanted, "text.format").get("type") == "text":
        return fields
    if wanted.get("type") == "json_schema":
        schema = pick_fields(wanted, ("name", "description", "schema", "strict"))
        return {**fields, "response_format": {"type": "json_schema", "json_schema": schema}}
    return {**fields, "response_format": wanted}
