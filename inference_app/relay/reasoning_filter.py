"""Reasoning in a conversation that the provider asked now did not produce, and refuses.

A converter makes such items of what a provider of another wire reasoned earlier in the conversation. Anthropic refuses
reasoning without its signature, which the converter can only leave empty; a provider of the Responses API looks for the
items among those it stored. A provider's own items are recognised by their ids. Everything else stays as the bytes it
came in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from core_app.json_size import has_more_nodes
from inference_app.catalogue.config import Wire
from inference_app.relay.envelope import Envelope

MAX_BYTES, MAX_NODES = 24 * 1024 * 1024, 200_000
"""The limits for a body that is looked through, and for the values in it. Larger ones go to the provider unchanged."""

_GATEWAY_ID = re.compile(r"rs_[0-9a-hjkmnp-tv-z]{26}")
"""An id of `core_app.ids`. OpenAI's have 48 and more hexadecimal digits."""

_ID_START, _QUOTED_GATEWAY_ID = b'"rs_', re.compile(rb'"%s"' % _GATEWAY_ID.pattern.encode())
_SIGNATURE, _EMPTY_SIGNATURE = b'"signature"', re.compile(rb'"signature"\s*:\s*""')

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class _Item(msgspec.Struct):
    """An item of the Responses API's `input`."""

    type: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


class _Block(msgspec.Struct):
    """A block of an Anthropic message's `content`."""

    type: str
    signature: str | None = None


_ITEM = msgspec.json.Decoder(_Item)
_BLOCK = msgspec.json.Decoder(_Block)


def without_foreign_reasoning(envelope: Envelope, wire: Wire) -> Envelope:
    """Returns the request for a provider of its own wire; the same value if there is nothing to leave out."""
    if wire == "anthropic":
        return without_unsigned_blocks(envelope)
    return _without_gateway_items(envelope) if wire == "openai-responses" else envelope


def without_unsigned_blocks(envelope: Envelope) -> Envelope:
    """Returns the request without thinking that Anthropic has not signed; the same value if there is none."""
    conversation = envelope.fields.get("messages")
    if conversation is None or not _contains(envelope.raw, _SIGNATURE, _EMPTY_SIGNATURE) or _is_too_large(envelope.raw):
        return envelope
    try:
        messages = [_signed_message(message) for message in _MESSAGES.decode(conversation)]
    except (msgspec.DecodeError, RecursionError):
        return envelope
    return _replace_field(envelope, "messages", [message for message in messages if message])


def _signed_message(message: dict[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """Returns the message without unsigned blocks; empty if it has no other."""
    content = message.get("content")
    if content is None or bytes(memoryview(content)[:1]) != b"[":
        return message
    blocks = _LIST.decode(content)
    signed = [block for block in blocks if not _is_unsigned(block)]
    if len(signed) == len(blocks):
        return message
    return {**message, "content": msgspec.Raw(msgspec.json.encode(signed))} if signed else {}


def _is_unsigned(block: msgspec.Raw) -> bool:
    try:
        read = _BLOCK.decode(block)
    except msgspec.DecodeError:
        return False
    return read.type == "thinking" and read.signature == ""


def _without_gateway_items(envelope: Envelope) -> Envelope:
    conversation = envelope.fields.get("input")
    if (
        conversation is None
        or not _contains(envelope.raw, _ID_START, _QUOTED_GATEWAY_ID)
        or _is_too_large(envelope.raw)
    ):
        return envelope
    try:
        items = _LIST.decode(conversation)
    except (msgspec.DecodeError, RecursionError):
        return envelope
    others = [item for item in items if not _is_gateway_item(item)]
    return envelope if len(others) == len(items) else _replace_field(envelope, "input", others)


def _is_gateway_item(item: msgspec.Raw) -> bool:
    """True for reasoning that a converter made, and for a reference to it."""
    try:
        read = _ITEM.decode(item)
    except msgspec.DecodeError:
        return False
    is_reasoning = read.type in ("reasoning", "item_reference", None) and not read.encrypted_content
    return is_reasoning and read.id is not None and _GATEWAY_ID.fullmatch(read.id) is not None


def _contains(raw: bytes, start: bytes, pattern: re.Pattern[bytes]) -> bool:
    """True if the pattern, which begins with `start`, is somewhere in the body. A search for the pattern itself would
    take a tenth of a second for a large body, in which no other thread of the process runs."""
    at = raw.find(start)
    while at >= 0:
        if pattern.match(raw, at):
            return True
        at = raw.find(start, at + 1)
    return False


def _is_too_large(raw: bytes) -> bool:
    return len(raw) > MAX_BYTES or has_more_nodes(raw, MAX_NODES)


def _replace_field(envelope: Envelope, name: str, value: object) -> Envelope:
    return envelope.with_value(name, msgspec.json.encode(value))
