"""The number of a text's values is told without decoding it, and bounds every decoding of a client's JSON."""

from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app import json_size
from core_app.errors import BadRequest
from core_app.json_size import MAX_NODES, has_more_nodes
from core_app.jsontext import decode_untrusted

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a,[{"\\é😀'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet=',["\\'), inner),
)


def nodes(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(nodes, inner))


def containers(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + sum(map(containers, inner))


@given(VALUES, st.booleans())
def test_values_are_counted_exactly_but_for_one_more_per_container(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    count = nodes(value)
    assert not has_more_nodes(raw, count + containers(value))
    assert has_more_nodes(raw, count - 1) or len(raw) <= 2 * (count - 1)


@given(VALUES, st.booleans(), st.integers(1, 9))
def test_values_are_counted_across_the_windows_that_are_read(value: Any, ascii_only: bool, window: int) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    with mock.patch.object(json_size, "_STRINGS_WINDOW", window):
        counted = [limit for limit in range(len(raw)) if not json_size._values_exceed(raw, limit)]
    assert counted == [limit for limit in range(len(raw)) if not json_size._values_exceed(raw, limit)]


@pytest.mark.parametrize("piece", ['"",', '"a":1,', r'"\\\",', r'"\",', '"'])
def test_a_count_takes_no_step_for_each_string(piece: str) -> None:
    steps = 0

    def step(frame: Any, event: str, argument: Any) -> None:
        nonlocal steps
        steps += 1

    raw = f"[{piece * 300_000}".encode()
    sys.setprofile(step)
    try:
        has_more_nodes(raw, 200_000)
    finally:
        sys.setprofile(None)
    assert steps < 50_000


@pytest.mark.parametrize("piece", ["[],", "{},", '"",', "0,", '{"a":0},', "[[0]],", '{"":{"":0}},', r'"\"",', '"[,{",'])
def test_more_values_than_allowed_are_refused_before_they_are_made(piece: str) -> None:
    raw = f"[{piece * (MAX_NODES + 1)}0]".encode()
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match=str(MAX_NODES)):
            decode_untrusted(raw)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 200_000


def test_marks_within_texts_are_no_values() -> None:
    text = ',[{"' * MAX_NODES
    assert decode_untrusted(json.dumps([text, {text: text}]).encode()) == [text, {text: text}]


def test_as_many_values_as_allowed_are_read() -> None:
    assert len(decode_untrusted(b"[" + b"0," * (MAX_NODES - 10) + b"0]")) == MAX_NODES - 9


@pytest.mark.parametrize("raw", [b"[1e400]", b"[-1e400]", b"[NaN]", b"[Infinity]", b"\xff", b'["\x01"]', b"[1,]", b""])
def test_what_is_no_strict_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_untrusted(raw)


def test_numbers_and_texts_that_other_readers_round_or_refuse_are_kept() -> None:
    raw = rb'{"a":123456789012345678,"b":"\ud83d","c":"\u0000","d":-0.0,"e":1e-400}'
    assert decode_untrusted(raw) == {"a": 123456789012345678, "b": "\ufffd", "c": "\ufffd", "d": -0.0, "e": 0.0}


def test_a_large_text_that_is_not_read_twice_is_refused_with_a_reason() -> None:
    with pytest.raises(BadRequest, match="too large to say where"):
        decode_untrusted(b'["' + "é".encode() * 5 * 2**20 + b'\x01"]')
