"""Token estimate for a request of Messages or Responses, for providers that do not count tokens.

Assumes 3.6 ASCII characters per token, 1.5 characters of other scripts, and Anthropic's largest size for an image. The
estimate errs upwards, because coding assistants shorten their conversation by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core_app import jsontext
from inference_app.conversion.validation import MAX_NODES, size_check

IMAGE_TOKENS = 1600
MESSAGE_TOKENS = 4
_ASCII_PER_TOKEN = 3.6
_OTHERS_PER_TOKEN = 1.5
_PAGE_CHARACTERS = 100_000
_UNCOUNTED = ("id", "status", "encrypted_content")


def estimate_body_tokens(raw: bytes) -> int:
    """Returns the estimate for a body as bytes; raises BadRequest, or PayloadTooLarge if it is too large to decode."""
    size_check(raw)
    return estimate_tokens(jsontext.decode_untrusted(raw, max_nodes=MAX_NODES))


def estimate_tokens(body: dict[str, Any]) -> int:
    """Returns the estimate for the body of `/v1/messages` or `/v1/messages/count_tokens`."""
    total = _content_tokens(body.get("system")) + _json_tokens(body.get("tools") or [])
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        total += MESSAGE_TOKENS + _content_tokens(message.get("content") if isinstance(message, dict) else message)
    return max(1, total)


def estimate_response_tokens(fields: dict[str, Any], items: Sequence[Any]) -> int:
    """Returns the estimate for a request of the Responses API: `items` are its whole input, `fields` the others."""
    total = _content_tokens(fields.get("instructions")) + _json_tokens(fields.get("tools") or [])
    total += _json_tokens(fields.get("text"))
    for item in items:
        total += MESSAGE_TOKENS + _item_tokens(item)
    return max(1, total)


def _item_tokens(item: Any) -> int:
    if not isinstance(item, dict):
        return _content_tokens(item)
    if item.get("type", "message") == "message":
        return _content_tokens(item.get("content"))
    if "output" in item:
        output = item["output"]
        return _content_tokens(output) if isinstance(output, str | list) else _json_tokens(output)
    # A provider does not count what it sealed itself.
    return _json_tokens({name: value for name, value in item.items() if name not in _UNCOUNTED})


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return _text_tokens(content)
    if isinstance(content, list):
        return sum(_block_tokens(block) for block in content)
    return 0


def _block_tokens(block: Any) -> int:
    if not isinstance(block, dict):
        return 0
    kind = block.get("type")
    if kind in ("text", "input_text", "output_text"):
        return _text_tokens(str(block.get("text", "")))
    if kind in ("image", "input_image"):
        return IMAGE_TOKENS
    if kind == "input_file":
        return IMAGE_TOKENS * (1 + len(str(block.get("file_data") or "")) // _PAGE_CHARACTERS)
    if kind == "tool_result":
        return MESSAGE_TOKENS + _content_tokens(block.get("content"))
    if kind == "document":
        return _document_tokens(block.get("source"))
    return _json_tokens(block)


def _document_tokens(source: Any) -> int:
    """Counts text by its length and estimates PDF pages from the size, one image per page."""
    if not isinstance(source, dict):
        return 0
    if source.get("type") == "content":
        return _content_tokens(source.get("content"))
    data = str(source.get("data") or "")
    return _text_tokens(data) if source.get("type") == "text" else IMAGE_TOKENS * (1 + len(data) // _PAGE_CHARACTERS)


def _json_tokens(value: Any) -> int:
    return _text_tokens(jsontext.encode_text(value)) if value else 0


def _text_tokens(text: str) -> int:
    others = len(text) - len(text.encode("ascii", "ignore"))
    return -int(-((len(text) - others) / _ASCII_PER_TOKEN + others / _OTHERS_PER_TOKEN) // 1)
