"""Fit of a request that passes through unconverted: only what the target is known to refuse changes, byte by byte.

The conversation may have begun at another provider. Then it has call ids of another form, signatures of another's, or
none where this provider wants one; and an operator may have set limits of the provider. Everything else stays as the
bytes it came in, and a request without such values is the same object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import Limits
from inference_app.conversion.call_ids import fit_call_id, split_call_id
from inference_app.conversion.fit import SKIP_SIGNATURE
from inference_app.relay.envelope import Envelope
from inference_app.relay.reasoning_filter import QUICK_BYTES, SHORT_BYTES, is_too_large

_CONVERSATIONS: Mapping[Wire, str] = {"openai-chat": "messages", "openai-responses": "input"}
_CALL_ID, _SIGNED = b'call_id"', "__sig"
_ID_VALUE = re.compile(rb'call_id"\s*:\s*("(?:[^"\\]|\\.)*")')
_IDS = re.compile(rb'("(?:id|call_id|tool_call_id)"\s*:\s*)("(?:[^"\\]|\\.)*")')
_EXTRA, _CALLS, _SIGNATURE = b'"extra_content"', b'"tool_calls"', b'"thought_signature"'
_SKIP = msgspec.Raw(msgspec.json.encode({"google": {"thought_signature": SKIP_SIGNATURE}}))

_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TEXT = msgspec.json.Decoder(str)


class _Message(msgspec.Struct):
    """A chat message, of which only what belongs to calls is read."""

    tool_call_id: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")


class _Item(msgspec.Struct):
    """An item of the Responses API, of which only the call's id is read."""

    call_id: str | None = None


_CHAT_CALLS = msgspec.json.Decoder(list[_Message])
_ITEM_CALLS = msgspec.json.Decoder(list[_Item])


def fit_passed(envelope: Envelope, wire: Wire, limits: Limits, own: Limits | None) -> Envelope:
    """Returns the request within the limits that concern its history, and within the operator's `own` for numbers."""
    field = _CONVERSATIONS.get(wire)
    if field is not None and field in envelope.fields and not _fits(envelope, field, limits):
        envelope = _fit_ids(envelope, field, limits)
        if wire == "openai-chat":
            envelope = _fit_signatures(envelope, limits)
    return envelope if own is None else _fit_numbers(envelope, own)


def _fits(envelope: Envelope, field: str, limits: Limits) -> bool:
    """True if the history is known to need no change. One pass over a body costs as much as one search through its
    text; a long body might hold too many messages for it."""
    raw, form = envelope.raw, limits.call_id
    has_extra = limits.signatures is False and field == "messages"
    if limits.signatures == "required" or len(raw) > QUICK_BYTES:
        return False
    if form is None and not has_extra:
        return True
    if len(raw) < SHORT_BYTES and _CALL_ID not in raw and _EXTRA not in raw:
        return True
    try:
        if field == "messages":
            messages = _CHAT_CALLS.decode(envelope.fields[field])
            if has_extra and _EXTRA in b"".join([message.tool_calls for message in messages if message.tool_calls]):
                return False
            ids = [message.tool_call_id for message in messages if message.tool_call_id is not None]
        else:
            items = _ITEM_CALLS.decode(envelope.fields[field])
            ids = [item.call_id for item in items if item.call_id is not None]
    except (msgspec.DecodeError, RecursionError):
        return False
    return form is None or (_SIGNED not in " ".join(ids) and form.accepts_all(ids))


def _fit_ids(envelope: Envelope, field: str, limits: Limits) -> Envelope:
    form = limits.call_id
    if form is None or _CALL_ID not in envelope.raw:
        return envelope
    known: dict[bytes, bytes] = {}
    at = envelope.raw.find(_CALL_ID)
    while at >= 0:
        found = _ID_VALUE.match(envelope.raw, at)
        if found is not None and found[1] not in known:
            given = _read_text(found[1])
            fitted = given if given is None else fit_call_id(split_call_id(given)[0], form)
            known[found[1]] = found[1] if fitted in (given, None) else msgspec.json.encode(fitted)
        at = envelope.raw.find(_CALL_ID, at + 1)
    if all(old == new for old, new in known.items()):
        return envelope
    value = _IDS.sub(lambda match: match[1] + known.get(match[2], match[2]), bytes(memoryview(envelope.fields[field])))
    return envelope.with_value(field, value)


def _read_text(quoted: bytes) -> str | None:
    try:
        return _TEXT.decode(quoted)
    except msgspec.DecodeError:
        return None


def _fit_signatures(envelope: Envelope, limits: Limits) -> Envelope:
    """Removes Gemini's signatures for others, and marks calls that have lost theirs for Gemini."""
    raw = envelope.raw
    if limits.signatures is False:
        changes = _EXTRA in raw
    else:
        changes = limits.signatures == "required" and raw.count(_CALLS) > raw.count(_SIGNATURE)
    if not changes or is_too_large(raw):
        return envelope
    try:
        messages = _MESSAGES.decode(envelope.fields["messages"])
        fitted = [_fit_message(message, required=limits.signatures == "required") for message in messages]
    except (msgspec.DecodeError, RecursionError):
        return envelope
    if all(new is old for new, old in zip(fitted, messages, strict=True)):
        return envelope
    return envelope.with_value("messages", msgspec.json.encode(fitted))


def _fit_message(message: dict[str, msgspec.Raw], *, required: bool) -> dict[str, msgspec.Raw]:
    raw = bytes(message.get("tool_calls") or b"")
    if not raw.startswith(b"["):
        return message
    if required == (_SIGNATURE in raw):
        return message
    calls = _MESSAGES.decode(raw)
    if not required:
        if not any("extra_content" in call for call in calls):
            return message
        calls = [{name: value for name, value in call.items() if name != "extra_content"} for call in calls]
    elif calls:
        calls[0] = {**calls[0], "extra_content": _SKIP}
    return {**message, "tool_calls": msgspec.Raw(msgspec.json.encode(calls))}


def _fit_numbers(envelope: Envelope, own: Limits) -> Envelope:
    for bounds, choose in ((own.minimum, max), (own.maximum, min)):
        for field, bound in bounds.items():
            given = envelope.value_of(field) if field in envelope.fields else None
            if isinstance(given, int | float) and not isinstance(given, bool) and choose(given, bound) != given:
                envelope = envelope.with_value(field, msgspec.json.encode(int(bound) if bound == int(bound) else bound))
    return envelope
