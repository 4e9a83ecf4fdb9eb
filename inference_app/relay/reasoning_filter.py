"""Reasoning in a conversation that the provider asked now did not produce, and refuses.

A converter makes such items of what a provider of another wire reasoned earlier in the conversation. Anthropic refuses
reasoning without its signature, which the converter can only leave empty; a provider of the Responses API looks for the
items among those it stored. A provider's own items are recognised by their ids. Everything else stays as the bytes it
came in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.relay.envelope import Envelope

_GATEWAY_ID = re.compile(r"rs_[0-9a-hjkmnp-tv-z]{26}")
"""An id of `core_app.ids`. OpenAI's have 48 and more hexadecimal digits."""

_QUOTED_GATEWAY_ID = re.compile(rb'"%s"' % _GATEWAY_ID.pattern.encode())
_EMPTY_SIGNATURE = re.compile(rb'"signature"\s*:\s*""')

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
    if _EMPTY_SIGNATURE.search(envelope.raw) is None:
        return envelope
    try:
        messages = [_signed_message(message) for message in _MESSAGES.decode(envelope.fields.get("messages", b""))]
    except (msgspec.DecodeError, RecursionError):
        return envelope
    return _replace_field(envelope, "messages", [message for message in messages if message])


def _signed_message(message: dict[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """Returns the message without unsigned blocks; empty if it has no other."""
    content = message.get("content")
    if content is None or not bytes(content).lstrip().startswith(b"["):
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
    if _QUOTED_GATEWAY_ID.search(envelope.raw) is None:
        return envelope
    try:
        items = _LIST.decode(envelope.fields.get("input", b""))
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


def _replace_field(envelope: Envelope, name: str, value: object) -> Envelope:
    fields = {**envelope.fields, name: msgspec.Raw(msgspec.json.encode(value))}
    return replace(envelope, fields=fields, raw=msgspec.json.encode(fields))
