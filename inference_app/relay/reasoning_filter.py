"""Parts of a conversation that the provider asked now did not produce, and refuses.

A converter makes such parts of what a provider of another wire said earlier in the conversation. Anthropic refuses
reasoning without its own signature, citations without its index, and text of white space; a provider of the Responses
API looks for reasoning items among those it stored. Where Anthropic thinks and the turn that goes on has lost its
thinking, `thinking` is left out. A provider's own parts are recognised by ids and signatures. Everything else stays as
the bytes it came in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from core_app.json_size import has_more_nodes
from inference_app.catalogue.config import Wire
from inference_app.conversion.fit import lacks_thinking
from inference_app.conversion.sealed_reasoning import PREFIX, is_token
from inference_app.relay.body_fields import Value
from inference_app.relay.envelope import Envelope

MAX_BYTES, MAX_NODES = 24 * 1024 * 1024, 200_000
"""The limits for a body that is looked through, and for the values in it. Larger ones go to the provider unchanged."""

QUICK_BYTES = 2 * MAX_NODES
"""The size up to which a body cannot hold more values than MAX_NODES, so that it may be decoded without a count."""

SHORT_BYTES = 4096
"""The size up to which a search is quicker than a pass through the body."""

_GATEWAY_ID = re.compile(r"rs_[0-9a-hjkmnp-tv-z]{26}")
"""An id of `core_app.ids`. OpenAI's have 48 and more hexadecimal digits."""

_ID_START, _QUOTED_GATEWAY_ID = b'"rs_', re.compile(rb'"%s"' % _GATEWAY_ID.pattern.encode())
_TOKEN = PREFIX.encode()
_MARKS = (_TOKEN, b'"encrypted_index":""', b'"encrypted_index": ""')
_BLANK_STARTS = tuple(b'"text":%s"%s' % (space, start) for space in (b"", b" ") for start in (b'"', b" ", rb"\n"))
"""Beginnings of a text of white space, as JSON encoders write it."""

_SIGNATURE, _EMPTY_SIGNATURE = b'"signature"', re.compile(rb'"signature"\s*:\s*""')

_ASSISTANT = msgspec.Raw(b'"assistant"')
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BLANK_TEXT = re.compile(rb'"text":\s*"(?:\s|\\[nrt])*"')


def is_gateway_id(item_id: str) -> bool:
    """True for the id of a reasoning item that a converter made, which no provider has stored."""
    return _GATEWAY_ID.fullmatch(item_id) is not None


class _Item(msgspec.Struct):
    """An item of the Responses API's `input`."""

    type: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


class _Block(msgspec.Struct):
    """A block of an Anthropic message's `content`."""

    type: str
    signature: str | None = None
    data: Any = None
    text: Any = None
    citations: Any = None


class _Marked(msgspec.Struct):
    """An item of `input`, of which only what tells its origin is read."""

    id: Any = None
    encrypted_content: Any = None


class _Said(msgspec.Struct):
    """A message with its content, undecoded."""

    role: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")


_MARKED = msgspec.json.Decoder(list[_Marked])
_SAID = msgspec.json.Decoder(list[_Said])
_ITEM = msgspec.json.Decoder(_Item)
_BLOCK = msgspec.json.Decoder(_Block)


class _TypedBlock(msgspec.Struct):
    type: Any = None


class _TypedMessage(msgspec.Struct):
    """A message, of which only the types of its blocks are read."""

    role: Any = None
    content: list[_TypedBlock] | str | None = None


_TYPED = msgspec.json.Decoder(list[_TypedMessage])


def without_foreign_reasoning(envelope: Envelope, wire: Wire) -> Envelope:
    """Returns the request for a provider of its own wire; the same value if there is nothing to leave out."""
    if wire == "anthropic":
        return without_lost_thinking(without_unsigned_blocks(envelope))
    return _without_gateway_items(envelope) if wire == "openai-responses" else envelope


def without_unsigned_blocks(envelope: Envelope) -> Envelope:
    """Returns the request without what Anthropic refuses in the assistant's messages; the same value if there is
    none."""
    conversation = envelope.fields.get("messages")
    if conversation is None or not _has_marks(_said_by_assistant(envelope)) or is_too_large(envelope.raw):
        return envelope
    try:
        messages = [_signed_message(message) for message in _MESSAGES.decode(conversation)]
    except (msgspec.DecodeError, RecursionError):
        return envelope
    return _replace_field(envelope, "messages", [message for message in messages if message])


def without_lost_thinking(envelope: Envelope) -> Envelope:
    """Returns the request without `thinking` if the assistant's turn that goes on has lost its own."""
    thinking = envelope.fields.get("thinking")
    if thinking is None or b'"enabled"' not in bytes(thinking) or is_too_large(envelope.raw):
        return envelope
    try:
        messages = _TYPED.decode(envelope.fields.get("messages") or b"[]")
    except (msgspec.DecodeError, RecursionError):
        return envelope
    return envelope.without("thinking") if lacks_thinking(msgspec.to_builtins(messages)) else envelope


def _said_by_assistant(envelope: Envelope) -> bytes:
    """Returns the text of the assistant's blocks, which is a small part of most bodies; the whole of a long one."""
    if len(envelope.raw) > QUICK_BYTES:
        return envelope.raw
    try:
        messages = _SAID.decode(envelope.fields["messages"])
    except (msgspec.DecodeError, RecursionError):
        return b""
    return b"".join([bytes(said.content) for said in messages if said.role == _ASSISTANT])


def _has_marks(raw: bytes) -> bool:
    if not raw:
        return False
    for mark in _MARKS:
        if mark in raw:
            return True
    if _contains(raw, _SIGNATURE, _EMPTY_SIGNATURE):
        return True
    return any(start in raw and _contains(raw, start, _BLANK_TEXT) for start in _BLANK_STARTS)


def _signed_message(message: dict[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """Returns the message without unsigned blocks; empty if it has no other."""
    content = message.get("content")
    if content is None or bytes(memoryview(content)[:1]) != b"[" or bytes(message.get("role") or b"") != b'"assistant"':
        return message
    blocks = _LIST.decode(content)
    kept = [_fit_block(block) for block in blocks]
    if all(new is old for new, old in zip(kept, blocks, strict=True)):
        return message
    left = [block for block in kept if block is not None]
    return {**message, "content": msgspec.Raw(msgspec.json.encode(left))} if left else {}


def _fit_block(block: msgspec.Raw) -> msgspec.Raw | None:
    """Returns the block as Anthropic takes it; None for one that it refuses."""
    try:
        read = _BLOCK.decode(block)
    except msgspec.DecodeError:
        return block
    if read.type == "thinking" and (read.signature == "" or is_token(read.signature)):
        return None
    if read.type == "redacted_thinking" and isinstance(read.data, str) and is_token(read.data):
        return None
    if read.type == "text" and isinstance(read.text, str) and not read.text.strip():
        return None
    if isinstance(read.citations, list) and any(_is_foreign(citation) for citation in read.citations):
        fields = _FIELDS.decode(block)
        own = [citation for citation in read.citations if not _is_foreign(citation)]
        fields["citations"] = msgspec.Raw(msgspec.json.encode(own or None))
        return msgspec.Raw(msgspec.json.encode(fields))
    return block


def _is_foreign(citation: Any) -> bool:
    return isinstance(citation, dict) and citation.get("encrypted_index") == ""


def _without_gateway_items(envelope: Envelope) -> Envelope:
    conversation = envelope.fields.get("input")
    if conversation is None or not _may_have_gateway_items(envelope, conversation) or is_too_large(envelope.raw):
        return envelope
    try:
        items = _LIST.decode(conversation)
    except (msgspec.DecodeError, RecursionError):
        return envelope
    others = [item for item in items if not _is_gateway_item(item)]
    return envelope if len(others) == len(items) else _replace_field(envelope, "input", others)


def _may_have_gateway_items(envelope: Envelope, conversation: Value) -> bool:
    if SHORT_BYTES <= len(envelope.raw) <= QUICK_BYTES:
        with suppress(msgspec.DecodeError, RecursionError):
            return any(map(_is_marked, _MARKED.decode(conversation)))
    return _TOKEN in envelope.raw or _contains(envelope.raw, _ID_START, _QUOTED_GATEWAY_ID)


def _is_marked(item: _Marked) -> bool:
    sealed, given = item.encrypted_content, item.id
    if isinstance(sealed, str) and is_token(sealed):
        return True
    return isinstance(given, str) and _GATEWAY_ID.fullmatch(given) is not None


def _is_gateway_item(item: msgspec.Raw) -> bool:
    """True for reasoning that a converter made, and for a reference to it."""
    try:
        read = _ITEM.decode(item)
    except msgspec.DecodeError:
        return False
    if is_token(read.encrypted_content):
        return True
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


def is_too_large(raw: bytes) -> bool:
    return len(raw) > MAX_BYTES or has_more_nodes(raw, MAX_NODES)


def _replace_field(envelope: Envelope, name: str, value: object) -> Envelope:
    return envelope.with_value(name, msgspec.json.encode(value))
