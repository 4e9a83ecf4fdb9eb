"""Compaction as Anthropic's clients have it: a request with `compaction` is answered by a summary of its conversation.

The answer is one block of the type `compaction`, which later requests send first in `messages`, in place of what it
stands for. A provider of Anthropic's own wire compacts by itself; for all others the gateway asks the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from core_app.ids import new_id
from inference_app.conversion.sse import typed_event
from inference_app.relay import Envelope
from responses_app.compaction import INSTRUCTIONS, MARK
from responses_app.items import join_items
from responses_app.threads.assembly import Json

COMPACTION = "compaction"
_REPLY_FIELDS = ("compaction", "context_management", "stop_sequences", "fallbacks", "thread")
"""Fields that shape a reply, which a summary is none of."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """The wish of a request for a summary, with the instructions for it."""

    instructions: str


def read_compaction(envelope: Envelope) -> Compaction | None:
    """Returns what the request says; None without a compaction. Raises BadRequest."""
    given = _value(envelope, COMPACTION)
    if given is None:
        return None
    told = given.get("instructions") if isinstance(given, dict) else None
    if not isinstance(given, dict) or given.get("type") != "summarize" or not isinstance(told, str | None):
        raise BadRequest("'compaction.type' must be 'summarize', and its 'instructions' a text.", field=COMPACTION)
    if _value(envelope, "context_management") is not None:
        raise BadRequest("'compaction' cannot be combined with 'context_management'.", field="context_management")
    return Compaction(told if told and told.strip() else INSTRUCTIONS)


def summary_request(prepared: Envelope, wanted: Compaction) -> Envelope:
    """Returns the request for the summary. Its beginning is that of the conversation, which providers have cached."""
    said = bytes(memoryview(prepared.fields.get("messages") or b"[]")).decode()
    asked = jsontext.encode_text([{"role": "user", "content": wanted.instructions}])
    changes: dict[str, bytes | None] = {name: None for name in _REPLY_FIELDS if name in prepared.fields}
    changes |= {"messages": join_items([said, asked]), "stream": b"false"}
    if "tools" in prepared.fields:
        changes["tool_choice"] = b'{"type":"none"}'
    output = _value(prepared, "output_config")
    if isinstance(output, dict) and "format" in output:
        changes["output_config"] = jsontext.encode({name: value for name, value in output.items() if name != "format"})
    return prepared.with_changes(changes)


def _value(envelope: Envelope, name: str) -> Any:
    """Returns the value of a field that may be long; None without it."""
    given = envelope.fields.get(name)
    return None if given is None else jsontext.decode_untrusted(bytes(memoryview(given)), field=name)


def summary_message(message: Json) -> Json:
    """Returns the answer to the client: the model's text as a block. Without a text the compaction has failed, and its
    block has none, as the API says."""
    blocks = message.get("content") or ()
    text = "".join(block.get("text") or "" for block in blocks if block.get("type") == "text")
    usage = message.get("usage") or {}
    counts = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    iteration = {"type": COMPACTION, "cache_creation": None, **{name: usage.get(name) or 0 for name in counts}}
    block: Json = {
        "type": COMPACTION,
        "content": text if text.strip() else None,
        "encrypted_content": None,
        # Tells the gateway its own blocks, which no provider has signed.
        "signature": MARK + new_id("cmp"),
        "tool_changes": [],
    }
    return {**message, "content": [block], "stop_reason": COMPACTION, "usage": {**usage, "iterations": [iteration]}}


def summary_events(message: Json) -> Iterator[bytes]:
    """Yields the events of the answer."""
    (block,) = message["content"]
    empty: Json = {**message, "content": [], "stop_reason": None}
    delta: Any = {"type": "compaction_delta", "content": block["content"], "encrypted_content": None}
    stop = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    for event in (
        {"type": "message_start", "message": empty},
        {"type": "content_block_start", "index": 0, "content_block": {**block, "content": None}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": message["usage"]},
        {"type": "message_stop"},
    ):
        yield typed_event(event)
