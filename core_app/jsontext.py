"""JSON texts: strict decoding of untrusted input, and encoding that never fails.

orjson refuses lone surrogates and writes NaN as null; PostgreSQL refuses NUL in text. `clean` makes any value safe for
all of them, so that one tenant's bad string never fails a batch. Integers keep all their digits: orjson reads those
beyond 64 bits as floats and refuses to write them, msgspec does both.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from core_app.errors import BadRequest
from core_app.json_size import MAX_NODES, has_more_nodes
from core_app.surrogates import replace_lone_surrogates

MAX_DEPTH = 64
"""Deeper nesting is refused: such documents are attacks, and recursion is costly."""

MAX_EXPLAINED_BYTES = 8 * 1024 * 1024
"""Larger texts are not read again by the decoder that says where an error is: it needs the text in one piece, and takes
up to eight times its bytes."""

LARGEST_INTEGER = 2**1023
"""Integers from here on, which no double is near to, become text."""

_decode = msgspec.json.Decoder().decode
_ORJSON_BLOCK = 4096
_UNEXPLAINED = "it is too large to say where"
_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSAFE_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_DOUBTFUL = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}")


def clean_text(text: str) -> str:
    """Returns `text` with NUL and lone surrogates replaced by U+FFFD."""
    return _UNSAFE.sub(_REPLACEMENT, text) if _UNSAFE.search(text) else text


def clean(value: Any, depth: int = 0) -> Any:
    """Copies `value` into a form that every JSON writer and database here accepts; BadRequest when it is too deep."""
    if depth > MAX_DEPTH:
        raise BadRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < LARGEST_INTEGER else str(value)
    if isinstance(value, float):
        return value if value == value and value not in (float("inf"), float("-inf")) else None
    if isinstance(value, dict):
        return {clean_text(str(key)): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item, depth + 1) for item in value]
    return clean_text(str(value))


def encode(value: Any) -> bytes:
    """Encodes `value` as compact JSON. The slow, cleaning path is taken only when the fast one refuses."""
    encoded = _encode(value)
    # A copy takes 40 ns. As orjson leaves it, a short result keeps a block of 4 KiB from others for as long as it
    # lives, and events live in the queues of the log and of followers.
    return b"%b" % encoded if len(encoded) < _ORJSON_BLOCK else encoded


def _encode(value: Any) -> bytes:
    try:
        encoded = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        return _encode_cleaned(value)
    return _encode_cleaned(value) if b"\\u0000" in encoded else encoded


def _encode_cleaned(value: Any) -> bytes:
    cleaned = clean(value)
    try:
        return orjson.dumps(cleaned)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return msgspec.json.encode(cleaned)


def encode_text(value: Any) -> str:
    """Encodes as `encode` does, into `str`, for text columns."""
    return _encode(value).decode()


def indent(raw: str) -> str:
    """Lays a stored JSON text out for people; a text that is not JSON is returned unchanged."""
    try:
        return msgspec.json.format(encode(decode(raw)), indent=2).decode()
    except orjson.JSONDecodeError:
        return raw


def decode(raw: bytes | str) -> Any:
    """Decodes a trusted JSON text; raises orjson.JSONDecodeError."""
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        return orjson.loads(raw)


def decode_untrusted(raw: bytes, *, field: str | None = None, max_nodes: int = MAX_NODES) -> Any:
    """Decodes and cleans a client's JSON; raises BadRequest for anything that is not strict JSON, and for JSON that is
    too deep or holds more than `max_nodes` values.

    NaN and Infinity are refused as in the RFC, and so are numbers outside the double range (1e400).
    """
    if has_more_nodes(raw, max_nodes):
        raise BadRequest(f"The JSON holds more than {max_nodes} values.", field=field)
    try:
        if _is_clean(raw):
            with suppress(msgspec.DecodeError):
                return msgspec.json.decode(raw)
        return clean(_decode_strictly(raw))
    except RecursionError:
        raise BadRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.", field=field) from None
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {_describe(error)}.", field=field) from None


def holds_unsafe_text(raw: bytes) -> bool:
    """Returns True for a valid JSON text with a NUL or a lone surrogate, which `decode_untrusted` replaces."""
    if _UNSAFE_ESCAPE.search(raw) is None:
        return False
    try:
        return _holds_nul(msgspec.json.decode(raw))
    except msgspec.DecodeError:  # it reads no lone surrogate
        return True


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_nul(item) for item in value)


def _is_clean(raw: bytes) -> bool:
    """Returns True for a text whose value `clean` would only copy, told from its bytes, which takes a tenth of the
    time: it escapes neither NUL nor surrogates, and has neither long numbers nor more brackets than MAX_DEPTH."""
    return _DOUBTFUL.search(raw) is None and raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH


def _decode_strictly(raw: bytes) -> Any:
    """Decodes with msgspec, which reads what orjson would round (big integers) and copies no text as a whole. It
    refuses lone surrogate escapes, which are replaced. The standard library's decoder says where an error is."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        whole = replace_lone_surrogates(raw)
    if whole is not None:
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(whole)
    if len(raw) > MAX_EXPLAINED_BYTES:
        raise ValueError(_UNEXPLAINED)
    text = raw.decode("utf-8", "strict")
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_finite)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def _describe(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at line {error.lineno} column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if _UNEXPLAINED in error.args:
        return _UNEXPLAINED
    return "it holds a number that JSON does not have, or one that is too large"
