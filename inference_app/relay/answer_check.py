"""What a whole answer used, and whether it is one: providers also put an error, or nothing, where it should stand.

Gone through once, and read no further than the top level but for its usage. An answer of the Responses API whose
status is `failed` may be the request's own fault; what is not the provider's goes to the client as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.spend.usage import Body, Usage

PROVIDERS_OWN = frozenset({"server_error", "rate_limit_exceeded"})
"""Codes of a failed response that say nothing about the request."""

_NOTHING = (b"", b"null", b"{}", b"[]", b'""', b"false", b"0")


class _Whole(Body):
    """The fields that tell, and the usage."""

    error: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")


class _Uncounted(_Whole):
    """One whose usage has other types than any wire's, which is not looked at."""

    usage: Any = None
    message: Any = None
    response: Any = None
    input_tokens: Any = None


class _Error(msgspec.Struct):
    code: str | int | None = None


_WHOLE = msgspec.json.Decoder(_Whole)
_UNCOUNTED = msgspec.json.Decoder(_Uncounted)
_ERROR = msgspec.json.Decoder(_Error)


def answer_read(body: bytes, wire: Wire) -> tuple[bool, Usage | None]:
    """Whether the JSON object holds an answer of the wire and no error of the provider's, and its usage; ValueError
    when it is no JSON object."""
    try:
        whole = _WHOLE.decode(body)
    except msgspec.ValidationError:
        return _is_answer(_uncounted(body), wire), None
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON") from None
    counted = whole.counted()
    return _is_answer(whole, wire), None if counted is None else counted.usage()


def _uncounted(body: bytes) -> _Uncounted:
    try:
        return _UNCOUNTED.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON object") from None


def _is_answer(whole: _Whole, wire: Wire) -> bool:
    if wire == "openai-responses":
        return _there(whole.output) and not providers_own(whole.error)
    if said(whole.error) or bytes(whole.type) == b'"error"':
        return False
    if wire == "anthropic":
        return _there(whole.content) or whole.input_tokens is not None
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
