"""A Messages request as a provider gets it: the whole conversation, and nothing of what the gateway keeps."""

from __future__ import annotations

from core_app import jsontext
from inference_app.conversion.fields import THREAD
from inference_app.conversion.requests.summaries import show_summary
from inference_app.relay import Envelope
from responses_app.compaction import MARK
from responses_app.items import join_items
from responses_app.threads.request import CONTEXT_FIELDS, ThreadRequest
from responses_app.threads.services import Continued

_MARK = MARK.encode()


def messages_prepare(envelope: Envelope, request: ThreadRequest | None, continued: Continued | None) -> Envelope:
    """Returns the request with the history of its thread, and with messages in place of the gateway's own summaries."""
    changes: dict[str, bytes | None] = {THREAD: None} if THREAD in envelope.fields else {}
    messages = bytes(memoryview(envelope.fields.get("messages") or b"[]"))
    if request is not None and continued is not None:
        messages = changes["messages"] = join_items([*continued.history, request.own_messages])
        changes |= {name: continued.context[name].encode() for name in CONTEXT_FIELDS if name in continued.context}
    if _MARK in messages:
        changes["messages"] = _show_own(messages)
    return envelope.with_changes(changes)


def has_own_summary(envelope: Envelope) -> bool:
    """True if the request may hold summaries of the gateway, whose signature no provider knows."""
    return _MARK in envelope.raw


def _show_own(messages: bytes) -> bytes:
    decoded = jsontext.decode_untrusted(messages, field="messages")
    shown = show_summary(decoded, lambda block: str(block.get("signature")).startswith(MARK))
    return messages if shown is decoded else jsontext.encode(list(shown))
