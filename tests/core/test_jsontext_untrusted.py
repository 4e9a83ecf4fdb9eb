"""Clients' JSON is clean once it is read, also where the text shows that there is nothing to clean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.errors import BadRequest
from core_app.jsontext import MAX_DEPTH, clean, decode_untrusted

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='a0[{\\"é😀\x00\ud800\udc00'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='a\x00\ud800"'), inner),
)


@given(VALUES)
def test_a_value_is_read_as_cleaning_leaves_it(value: Any) -> None:
    found = decode_untrusted(json.dumps(value).encode())
    assert found == clean(found)
    assert found == clean(json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (rb'"a\u0000b"', "a\ufffdb"),
        (rb'{"\u0000":"\ud800"}', {"\ufffd": "\ufffd"}),
        (rb'"\ud83d\ude00"', "😀"),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", 2**63),
        (b"-99999999999999999999", -99999999999999999999),
        (b"9" * 310, "9" * 310),
        (b'"' + b"[" * 100 + b'"', "[" * 100),
    ],
)
def test_what_needs_cleaning_is_cleaned(raw: bytes, expected: Any) -> None:
    found = decode_untrusted(raw)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 2, 100_000])
def test_depth_is_bounded(levels: int) -> None:
    raw = b"[" * levels + b"0" + b"]" * levels
    if levels <= MAX_DEPTH:
        assert decode_untrusted(raw)
    else:
        with pytest.raises(BadRequest):
            decode_untrusted(raw)


@pytest.mark.parametrize(
    "raw", [b"NaN", b"[1e400]", b"\xed\xa0\x80", b'"\xed\xa0\x80"', b'"\x00"', b'"\n"', b"", b"{", b"01"]
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_untrusted(raw)
