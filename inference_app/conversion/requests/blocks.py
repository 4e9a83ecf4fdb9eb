"""Converter of Anthropic's content blocks to chat's parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core_app.errors import BadRequest
from inference_app.conversion.requests.content import file_part, image_part, text_part
from inference_app.conversion.requests.media import InlineData, inline_data
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    require_nonempty,
    require_object,
    require_string,
)

LEFT_OUT = frozenset(
    {
        "thinking", "redacted_thinking", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result",
        "code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
        "tool_search_tool_result", "tool_reference", "container_upload", "mcp_tool_use", "mcp_tool_result",
        "compaction", "browser_state", "advisor_tool_result", "mcp_tool_listing", "fallback",
    }
)  # fmt: skip
"""Blocks that a conversation does not need: reasoning, and activity of the provider's hosted tools."""


def blocks_of(content: Any, field: str) -> Iterator[tuple[str, Json]]:
    """Yields the blocks of a content with their paths; a string is one text block."""
    if isinstance(content, str):
        yield field, {"type": "text", "text": content}
        return
    for path, block in iter_objects(content, field):
        require_string(block.get("type"), f"{path}.type")
        yield path, block


def parts_of(content: Any, field: str) -> Iterator[Json]:
    """Yields chat's parts for a content without calls and results."""
    for path, block in blocks_of(content, field):
        yield from block_parts(path, block)


def block_parts(path: str, block: Json) -> Iterator[Json]:
    """Yields chat's parts for one block."""
    kind = block["type"]
    if kind == "text":
        yield text_part(require_string(block.get("text"), f"{path}.text"))
    elif kind == "image":
        yield _image(path, block)
    elif kind == "document":
        yield from _document(path, block)
    elif kind == "search_result":
        yield _search_result(path, block)
    elif kind not in LEFT_OUT:
        raise BadRequest(f"{path} is of a type that cannot be converted.", field=f"{path}.type")


def _image(path: str, block: Json) -> Json:
    source = require_object(block.get("source"), f"{path}.source")
    if source.get("type") == "url":
        return image_part(require_nonempty(source.get("url"), f"{path}.source.url"))
    return image_part(_inline(path, source).url)


def _inline(path: str, source: Json) -> InlineData:
    if source.get("type") != "base64":
        raise field_error(f"{path}.source", "names what the provider cannot read: send base64.")
    media_type = require_nonempty(source.get("media_type"), f"{path}.source.media_type")
    return inline_data(media_type, require_nonempty(source.get("data"), f"{path}.source.data"))


def _document(path: str, block: Json) -> Iterator[Json]:
    source = require_object(block.get("source"), f"{path}.source")
    if source.get("type") == "text":
        yield text_part(require_string(source.get("data"), f"{path}.source.data"))
    elif source.get("type") == "content":
        yield from parts_of(source.get("content"), f"{path}.source.content")
    elif source.get("type") == "url":
        yield file_part(file_url=require_nonempty(source.get("url"), f"{path}.source.url"), path=path)
    elif (text := (inline := _inline(path, source)).text) is not None:
        yield text_part(text)
    else:
        yield file_part(filename=str(block.get("title") or "document.pdf"), file_data=inline.url)


def _search_result(path: str, block: Json) -> Json:
    texts = [part["text"] for part in parts_of(block.get("content"), f"{path}.content") if part["type"] == "text"]
    return text_part("\n\n".join([f"{block.get('title', '')} ({block.get('source', '')})", *texts]))
