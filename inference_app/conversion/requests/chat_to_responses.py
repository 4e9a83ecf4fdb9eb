"""Request converter: chat completions to the Responses API, for providers that support only that.

The first system message becomes `instructions`. `store` is false unless the client sets it, as in chat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from core_app.errors import BadRequest
from inference_app.conversion.requests.content import text_of
from inference_app.conversion.requests.media import normal_url
from inference_app.conversion.requests.state import BLOCKS
from inference_app.conversion.sealed_reasoning import blocks_of_wire
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    optional_object,
    pick_fields,
    require_object,
    require_string,
    unknown_fields,
)

MAPPED = frozenset(
    {
        "model", "messages", "tools", "tool_choice", "response_format", "verbosity", "max_tokens",
        "max_completion_tokens", "reasoning_effort", "logprobs", "store", "stream",
    }
)  # fmt: skip
LEFT_OUT = frozenset(
    {
        "frequency_penalty", "logit_bias", "modalities", "moderation", "n",
        "prediction", "presence_penalty", "seed", "stop", "stream_options", "web_search_options",
        "prompt_cache_options",
    }
)  # fmt: skip
"""Fields that the Responses API cannot express."""

_KNOWN = MAPPED | LEFT_OUT


_REASONING_MODEL = re.compile(r"(?:.*/)?(?:o\d|gpt-5(?!.*chat)|codex|grok-4|gpt-oss)")
_SEALED = "reasoning.encrypted_content"


def chat_to_responses(chat: Json) -> Json:
    """Returns the Responses request."""
    items = [item for path, message in iter_objects(chat.get("messages"), "messages") for item in _items(path, message)]
    body: Json = {"model": chat.get("model"), "input": items, "store": chat.get("store") is True}
    if items and items[0].get("role") == "system" and isinstance(items[0]["content"], str):
        body["instructions"] = items.pop(0)["content"]
    body |= _tools(chat) | _text(chat) | _limits(chat) | _include(chat, stored=body["store"])
    body |= unknown_fields(chat, _KNOWN, body)
    return {**body, "stream": True} if chat.get("stream") else body


def _items(path: str, message: Json) -> Iterator[Json]:
    role = message.get("role")
    if role == "tool":
        content = message.get("content")
        output = content if isinstance(content, str) else text_of(list(_texts(content, f"{path}.content")))
        call_id = require_string(message.get("tool_call_id"), f"{path}.tool_call_id")
        yield {"type": "function_call_output", "call_id": call_id, "output": output}
    elif role == "assistant":
        yield from _assistant(path, message)
    elif role in ("system", "developer", "user"):
        yield {"type": "message", "role": role, "content": _content(message.get("content"), f"{path}.content")}
    else:
        raise field_error(f"{path}.role", "must be system, developer, user, assistant or tool.")


def _texts(content: Any, field: str) -> Iterator[Json]:
    for path, part in iter_objects(content, field):
        if part.get("type") == "text":
            yield {"type": "text", "text": require_string(part.get("text"), f"{path}.text")}


def _assistant(path: str, message: Json) -> Iterator[Json]:
    content = message.get("content")
    if content or message.get("tool_calls") or message.get("refusal"):
        for block in blocks_of_wire(message.get(BLOCKS) or (), "openai"):
            yield _reasoning(block)
    text = content if isinstance(content, str) else "".join(p["text"] for p in _texts(content, f"{path}.content"))
    parts: list[Json] = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts or not message.get("tool_calls"):
        yield {"type": "message", "role": "assistant", "content": parts}
    for call_path, call in iter_objects(message.get("tool_calls"), f"{path}.tool_calls"):
        yield _call(call_path, call)


def _reasoning(block: Json) -> Json:
    seal = block["seal"]
    summary = [{"type": "summary_text", "text": block["text"]}] if block["text"] else []
    known = {"id": seal["id"]} if seal.get("id") else {}
    return {"type": "reasoning", **known, "summary": summary, "encrypted_content": seal["encrypted_content"]}


def _call(path: str, call: Json) -> Json:
    call_id = require_string(call.get("id"), f"{path}.id")
    if call.get("type") == "custom":
        custom = require_object(call.get("custom"), f"{path}.custom")
        return {"type": "custom_tool_call", "call_id": call_id, **pick_fields(custom, ("name", "input"))}
    function = require_object(call.get("function"), f"{path}.function")
    return {"type": "function_call", "call_id": call_id, **pick_fields(function, ("name", "arguments"))}


def _content(content: Any, field: str) -> str | list[Json]:
    if isinstance(content, str):
        return content
    return [_part(path, part) for path, part in iter_objects(content, field)]


def _part(path: str, part: Json) -> Json:
    kind = part.get("type")
    if kind == "text":
        return {"type": "input_text", "text": require_string(part.get("text"), f"{path}.text")}
    if kind == "image_url":
        given = part.get("image_url")
        image = {"url": given} if isinstance(given, str) else require_object(given, f"{path}.image_url")
        url = normal_url(require_string(image.get("url"), f"{path}.image_url.url"))
        return {"type": "input_image", "image_url": url, **pick_fields(image, ("detail",))}
    if kind == "file":
        file = require_object(part.get("file"), f"{path}.file")
        return {"type": "input_file", **{name: value for name, value in file.items() if name != "path"}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise BadRequest(f"{path} is of a type that cannot be converted.", field=f"{path}.type")


def _tools(chat: Json) -> Json:
    tools = [_tool(path, tool) for path, tool in iter_objects(chat.get("tools"), "tools")]
    if not tools:
        return {}
    choice = _choice(chat.get("tool_choice"))
    return {"tools": tools, **({"tool_choice": choice} if choice is not None else {})}


def _tool(path: str, tool: Json) -> Json:
    if tool.get("type") == "custom":
        custom = require_object(tool.get("custom"), f"{path}.custom")
        form = custom.get("format")
        if isinstance(form, dict) and isinstance(form.get("grammar"), dict):
            custom = {**custom, "format": {"type": "grammar", **form["grammar"]}}
        return {"type": "custom", **custom}
    if tool.get("type") == "function":
        function = require_object(tool.get("function"), f"{path}.function")
        # Functions are strict by default in the Responses API, but not in chat.
        return {"type": "function", "strict": False, **function}
    return tool


def _choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    inner = choice.get(choice.get("type") or "")
    if not isinstance(inner, dict):
        return choice
    if isinstance(inner.get("tools"), list):
        inner = {**inner, "tools": [_choice(tool) for tool in inner["tools"]]}
    return {"type": choice["type"], **inner}


def _text(chat: Json) -> Json:
    text = pick_fields(chat, ("verbosity",))
    wanted = optional_object(chat.get("response_format"), "response_format")
    if wanted.get("type") == "json_schema":
        schema = require_object(wanted.get("json_schema"), "response_format.json_schema")
        text["format"] = {"type": "json_schema", **schema}
    elif wanted and wanted.get("type") != "text":
        text["format"] = wanted
    return {"text": text} if text else {}


def _limits(chat: Json) -> Json:
    fields: Json = {}
    limit = chat.get("max_completion_tokens") or chat.get("max_tokens")
    if limit is not None:
        fields["max_output_tokens"] = limit
    if chat.get("reasoning_effort"):
        fields["reasoning"] = {"effort": chat["reasoning_effort"]}
    return fields


def _include(chat: Json, *, stored: bool) -> Json:
    """Returns `include`: a model that reasons has to get its reasoning back, which nobody stores."""
    included = ["message.output_text.logprobs"] if chat.get("logprobs") else []
    # Others refuse the field.
    if not stored and _REASONING_MODEL.match(str(chat.get("model"))):
        included.append(_SEALED)
    return {"include": included} if included else {}
