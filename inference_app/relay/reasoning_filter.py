"""What a conversation brings along that the provider who goes on with it cannot know: thoughts of another's.

A converter makes them of what another wire's provider thought. Anthropic refuses those without its signature
(`inference_app.relay.unsigned`), a provider of the Responses API looks for them among what it stored and refuses them
too. Its own are told by their ids, and everything else stays as the bytes it came in.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.relay.envelope import Envelope
from inference_app.relay.unsigned import without_unsigned

_MADE_HERE = re.compile(r"rs_[0-9a-hjkmnp-tv-z]{26}")
"""An id of `core_app.ids`. OpenAI's have 48 and more hexadecimal digits."""

_MAY_BE_THERE = re.compile(rb'"%s"' % _MADE_HERE.pattern.encode())
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class _Item(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


_ITEM = msgspec.json.Decoder(_Item)


def without_foreign(envelope: Envelope, wire: Wire) -> Envelope:
    """The request for a provider of its own wire; the same one when there is nothing to leave out."""
    if wire == "anthropic":
        return without_unsigned(envelope)
    return _without_made_here(envelope) if wire == "openai-responses" else envelope


def _without_made_here(envelope: Envelope) -> Envelope:
    if _MAY_BE_THERE.search(envelope.raw) is None:
        return envelope
    try:
        items = _ITEMS.decode(envelope.fields.get("input", b""))
    except (msgspec.DecodeError, RecursionError):
        return envelope
    kept = [item for item in items if not _is_made_here(item)]
    if len(kept) == len(items):
        return envelope
    fields = {**envelope.fields, "input": msgspec.Raw(msgspec.json.encode(kept))}
    return replace(envelope, fields=fields, raw=msgspec.json.encode(fields))


def _is_made_here(item: msgspec.Raw) -> bool:
    """Whether it is a thought of a converter's, or refers to one."""
    try:
        read = _ITEM.decode(item)
    except msgspec.DecodeError:
        return False
    thought = read.type in ("reasoning", "item_reference", None) and not read.encrypted_content
    return thought and read.id is not None and _MADE_HERE.fullmatch(read.id) is not None
