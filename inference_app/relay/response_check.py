"""Validity and usage of a complete response: some providers send an error, or nothing, with status 200.

The body is read once, and no deeper than its top level and its usage. A response of the Responses API whose status is
`failed` may be the request's own fault; one that is not the provider's goes to the client unchanged.
"""

from __future__ import annotations

from typing import Any

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.spend.usage import Body, Usage

PROVIDER_ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded"})
"""Codes of a failed response that blame the provider and not the request."""

_EMPTY_VALUES = (b"", b"null", b"{}", b"[]", b'""', b"false", b"0")


class _Answer(Body):
    """The fields that decide about validity, and the usage."""

    error: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")


class _AnswerWithoutUsage(_Answer):
    """A response whose usage has types of no known wire; the usage is ignored."""

    usage: Any = None
    message: Any = None
    response: Any = None
    input_tokens: Any = None


class _Error(msgspec.Struct):
    code: str | int | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_ANSWER_WITHOUT_USAGE = msgspec.json.Decoder(_AnswerWithoutUsage)
_ERROR = msgspec.json.Decoder(_Error)


def read_response(body: bytes, wire: Wire) -> tuple[bool, Usage | None]:
    """Returns True for a valid response of the wire, which an error of the provider is not, and its usage.

    Raises ValueError if the body is not a JSON object."""
    try:
        answer = _ANSWER.decode(body)
    except msgspec.ValidationError:
        return _is_answer(_read_without_usage(body), wire), None
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON") from None
    counted = answer.reported_usage()
    return _is_answer(answer, wire), None if counted is None else counted.usage()


def _read_without_usage(body: bytes) -> _AnswerWithoutUsage:
    try:
        return _ANSWER_WITHOUT_USAGE.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON object") from None


def _is_answer(answer: _Answer, wire: Wire) -> bool:
    if wire == "openai-responses":
        return _is_present(answer.output) and not is_provider_error(answer.error)
    if has_content(answer.error) or bytes(answer.type) == b'"error"':
        return False
    if wire == "anthropic":
        return _is_present(answer.content) or answer.input_tokens is not None
    # A list of embeddings may be empty; a completion has a choice.
    return has_content(answer.choices) or _is_present(answer.data)


def has_content(raw: msgspec.Raw) -> bool:
    """True if the field has a value: some providers send an error that is false or empty."""
    return bytes(raw) not in _EMPTY_VALUES


def is_provider_error(error: msgspec.Raw) -> bool:
    """True if the error of a failed response blames the provider."""
    try:
        return has_content(error) and _ERROR.decode(error).code in PROVIDER_ERROR_CODES
    except (msgspec.DecodeError, RecursionError):
        return True


def _is_present(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")
