"""Validity and usage of a complete response: some providers send an error, or nothing, with status 200.

The body is read once, and no deeper than its top level and its usage. A response of the Responses API whose status is
`failed` may be the request's own fault; one that is not the provider's goes to a client of that API unchanged.
"""

from __future__ import annotations

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.spend.usage import Body, ReportedUsage, Usage

PROVIDER_ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded"})
"""Codes of a failed response that blame the provider and not the request."""

_EMPTY_VALUES = (b"", b"null", b"{}", b"[]", b'""', b"false", b"0")


class _Answer(Body):
    """The fields that decide about validity, and the usage."""

    usage: ReportedUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")
    input_tokens: msgspec.Raw = msgspec.Raw(b"")


class _LooseAnswer(_Answer):
    """A response whose usage has members of other types than numbers."""

    usage: msgspec.Raw = msgspec.Raw(b"")  # type: ignore[assignment]


class _Error(msgspec.Struct):
    code: str | int | None = None


class _Choice(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"")


_ANSWER = msgspec.json.Decoder(_Answer)
_LOOSE_ANSWER = msgspec.json.Decoder(_LooseAnswer)
_ERROR = msgspec.json.Decoder(_Error)
_CHOICES = msgspec.json.Decoder(list[_Choice])


def read_response(body: bytes, wire: Wire, *, passes: bool = True) -> tuple[bool, Usage | None]:
    """Returns True for a valid response of the wire, which an error of the provider is not, and its usage. `passes`:
    the client has the wire itself, so it may get a failed response.

    Raises ValueError if the body is not a JSON object."""
    answer: _Answer
    try:
        answer = _ANSWER.decode(body)
    except msgspec.ValidationError:
        answer = _read_loosely(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON") from None
    counted = answer.reported_usage()
    return _is_answer(answer, wire, passes), None if counted is None else counted.usage()


def _read_loosely(body: bytes) -> _Answer:
    try:
        return _LOOSE_ANSWER.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON object") from None


def _is_answer(answer: _Answer, wire: Wire, passes: bool) -> bool:
    if wire == "openai-responses":
        failed = is_provider_error(answer.error) if passes else has_content(answer.error)
        return _is_present(answer.output) and not failed
    if has_content(answer.error) or bytes(answer.type) == b'"error"':
        return False
    if wire == "anthropic":
        return _is_present(answer.content) or _is_present(answer.input_tokens)
    # A list of embeddings may be empty; a completion has a choice.
    choices = bytes(answer.choices)
    if choices in _EMPTY_VALUES:
        return _is_present(answer.data)
    return b'"error"' not in choices or not _has_failed_choice(choices)


def _has_failed_choice(choices: bytes) -> bool:
    """True if a choice is an error, as OpenRouter has them."""
    try:
        return any(has_content(choice.error) for choice in _CHOICES.decode(choices))
    except (msgspec.DecodeError, RecursionError):
        return False


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
