"""Whether a whole answer is one: providers also put an error, or nothing, where their answer should stand.

Read no further than the top level. An answer of the Responses API whose status is `failed` may be the request's own
fault; what is not the provider's goes to the client as it is.
"""

from __future__ import annotations

import msgspec

from inference_app.config import Wire

PROVIDERS_OWN = frozenset({"server_error", "rate_limit_exceeded"})
"""Codes of a failed response that say nothing about the request."""

_NOTHING = (b"", b"null", b"{}", b"[]", b'""', b"false", b"0")


class _Whole(msgspec.Struct):
    """The fields that tell."""

    error: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")
    input_tokens: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")


class _Error(msgspec.Struct):
    code: str | int | None = None


_WHOLE = msgspec.json.Decoder(_Whole)
_ERROR = msgspec.json.Decoder(_Error)


def is_answer(body: bytes, wire: Wire) -> bool:
    """Whether the JSON object holds an answer of the wire, and no error of the provider's."""
    try:
        whole = _WHOLE.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    if wire == "openai-responses":
        return _there(whole.output) and not providers_own(whole.error)
    if said(whole.error) or bytes(whole.type) == b'"error"':
        return False
    if wire == "anthropic":
        return _there(whole.content) or _there(whole.input_tokens)
    # Embeddings may be none at all; a completion has a choice.
    return said(whole.choices) or _there(whole.data)


def said(raw: msgspec.Raw) -> bool:
    """Whether the field says anything: some providers send an error that is false or empty."""
    return bytes(raw) not in _NOTHING


def providers_own(error: msgspec.Raw) -> bool:
    """Whether a failed response's error is the provider's."""
    try:
        return said(error) and _ERROR.decode(error).code in PROVIDERS_OWN
    except (msgspec.DecodeError, RecursionError):
        return True


def _there(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")
