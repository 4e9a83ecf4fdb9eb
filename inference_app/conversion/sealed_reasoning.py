"""Sealed reasoning: the state of a model's thinking that its provider wants back, on its way through another dialect.

A seal names its wire: Anthropic's signature of a thinking block or the data of a redacted one, the Responses API's
encrypted content, OpenRouter's `reasoning_details`, Gemini's signature of a text. In the dialects of Messages and of
the Responses API it travels as a token in the field that those clients return unchanged (`signature`, `data`,
`encrypted_content`); in chat as `reasoning_details`. A seal goes back to a provider of its wire alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import orjson

Json = dict[str, Any]

PREFIX = "gatewayseal1."
"""The beginning of every token. A provider's own signatures are base64 and have no full stop."""

Format = Literal["anthropic", "openai", "details", "google"]
_FORMATS = {"anthropic": "anthropic-claude-v1", "openai": "openai-responses-v1"}
"""OpenRouter's names for the formats of `reasoning_details`."""


def seal_token(seal: Json) -> str:
    """Returns the token of a seal."""
    return PREFIX + base64.urlsafe_b64encode(orjson.dumps(seal)).decode().rstrip("=")


def open_token(token: Any) -> Json | None:
    """Returns the seal of a token; None for a provider's own value."""
    if not isinstance(token, str) or not token.startswith(PREFIX):
        return None
    text = token.removeprefix(PREFIX)
    try:
        seal = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return None
    return seal if isinstance(seal, dict) and isinstance(seal.get("format"), str) else None


def is_token(value: str | None) -> bool:
    """True for a token, which no provider takes."""
    return value is not None and value.startswith(PREFIX)


def details_of(seal: Json, text: str, index: int) -> list[Json]:
    """Returns a seal with the reasoning before it as chat's `reasoning_details`."""
    if seal["format"] == "details":
        return [{**detail, "index": index + n} for n, detail in enumerate(seal["details"])]
    named = {"format": _FORMATS.get(seal["format"], seal["format"])}
    if "signature" in seal:
        return [{"type": "reasoning.text", "text": text, "signature": seal["signature"], **named, "index": index}]
    summary = [{"type": "reasoning.summary", "summary": text, **named, "index": index}] if text else []
    sealed = {"type": "reasoning.encrypted", "data": seal.get("data") or seal.get("encrypted_content"), **named}
    known = {"id": seal["id"]} if seal.get("id") else {}
    return [*summary, {**sealed, **known, "index": index + len(summary)}]


def blocks_of_message(message: Json) -> list[Json]:
    """Returns the reasoning that a chat client sends back in an assistant's message, as hub blocks (`text`, `seal`)."""
    blocks = list(_blocks_of_details(message.get("reasoning_details")))
    return blocks or list(_blocks_of_thinking(message.get("thinking_blocks")))


def blocks_of_wire(blocks: Sequence[Json], wanted: Format) -> list[Json]:
    """Returns the hub blocks whose seals are of one wire."""
    return [block for block in blocks if block["seal"] is not None and block["seal"]["format"] == wanted]


def _blocks_of_details(details: Any) -> Iterator[Json]:
    text = ""
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        kind, form = detail.get("type"), str(detail.get("format") or "")
        if kind == "reasoning.summary":
            text += str(detail.get("summary") or "")
        elif kind == "reasoning.text" and detail.get("signature"):
            seal = {"format": _format_of(form), "signature": detail["signature"]}
            yield {"text": str(detail.get("text") or ""), "seal": seal}
        elif kind == "reasoning.encrypted" and detail.get("data"):
            yield {"text": text, "seal": _encrypted_seal(_format_of(form), detail)}
            text = ""


def _format_of(name: str) -> str:
    return next((known for known, named in _FORMATS.items() if named == name), name or "anthropic")


def _encrypted_seal(form: str, detail: Json) -> Json:
    if form == "openai":
        return {"format": form, "id": detail.get("id"), "encrypted_content": detail["data"]}
    return {"format": form, "data": detail["data"]}


def _blocks_of_thinking(blocks: Any) -> Iterator[Json]:
    """Yields the blocks of LiteLLM's `thinking_blocks`, which are Anthropic's."""
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, dict):
            continue
        if block.get("type") == "thinking" and block.get("signature"):
            seal = {"format": "anthropic", "signature": block["signature"]}
            yield {"text": str(block.get("thinking") or ""), "seal": seal}
        elif block.get("type") == "redacted_thinking" and block.get("data"):
            yield {"text": "", "seal": {"format": "anthropic", "data": block["data"]}}
