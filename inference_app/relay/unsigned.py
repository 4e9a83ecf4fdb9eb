"""Thoughts in a conversation that Anthropic has not signed, which it refuses: a provider of another wire answered a
turn before this one, and the converter could only leave the signature empty.

Everything else in the messages stays as the bytes it came in.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec

from inference_app.relay.envelope import Envelope

_UNSIGNED = re.compile(rb'"signature"\s*:\s*""')
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_BLOCKS = msgspec.json.Decoder(list[msgspec.Raw])


class _Block(msgspec.Struct):
    type: str
    signature: str | None = None


_BLOCK = msgspec.json.Decoder(_Block)


def without_unsigned(envelope: Envelope) -> Envelope:
    """The request without them; the same one when there are none, or when it is none of Anthropic's."""
    if _UNSIGNED.search(envelope.raw) is None:
        return envelope
    try:
        messages = [_kept(message) for message in _MESSAGES.decode(envelope.fields.get("messages", b""))]
    except (msgspec.DecodeError, RecursionError):
        return envelope
    written = msgspec.json.encode([message for message in messages if message])
    fields = {**envelope.fields, "messages": msgspec.Raw(written)}
    return replace(envelope, fields=fields, raw=msgspec.json.encode(fields))


def _kept(message: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The message; empty when nothing is left of it."""
    content = message.get("content")
    if content is None or not bytes(content).lstrip().startswith(b"["):
        return message
    blocks = _BLOCKS.decode(content)
    kept = [block for block in blocks if not _is_unsigned(block)]
    if len(kept) == len(blocks):
        return message
    return {**message, "content": msgspec.Raw(msgspec.json.encode(kept))} if kept else {}


def _is_unsigned(block: msgspec.Raw) -> bool:
    try:
        read = _BLOCK.decode(block)
    except msgspec.DecodeError:
        return False
    return read.type == "thinking" and read.signature == ""
