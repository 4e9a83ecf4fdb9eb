"""Fields of a body are found without a copy of them, and changed without a change of anything else."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.errors import BadRequest
from inference_app.relay import body_fields
from inference_app.relay.body_fields import (
    MAX_FIELDS,
    MAX_NAME_BYTES,
    Span,
    read_fields,
    spans,
    spelling_check,
    splice,
)
from inference_app.relay.large_bodies import AT_ONCE_BYTES

SPACE = st.text(alphabet=" \t\n\r", max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
NAMES = st.text(max_size=5) | st.sampled_from(["model", "stream", "tools", "stream_options"])


@pytest.fixture(params=["at once", "field by field"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads every body as small ones are read, then as large ones are."""
    if request.param == "field by field":
        monkeypatch.setattr(body_fields, "AT_ONCE_BYTES", 0)


def places(raw: bytes) -> list[Span]:
    return list(spans(raw, read_fields(raw)))


@st.composite
def bodies(draw: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Draws an object as it may be written, and its fields."""
    pairs, texts = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6)), []
    fields: list[tuple[str, bytes]] = []
    for name, value in pairs:
        name = name.encode("utf-8", "replace").decode()
        written = json.dumps(value, ensure_ascii=True).encode("utf-8")
        quoted = json.dumps(name, ensure_ascii=draw(st.booleans()))
        fields.append((name, written))
        spaces = [draw(SPACE).encode() for _ in range(4)]
        texts.append(spaces[0] + quoted.encode() + spaces[1] + b":" + spaces[2] + written + spaces[3])
    start, inside, end = (draw(SPACE).encode() for _ in range(3))
    return start + b"{" + (b",".join(texts) or inside) + b"}" + end, fields


def usable(fields: list[tuple[str, bytes]]) -> bool:
    """False for text with half a character, which no reader of bytes takes."""
    try:
        for _, value in fields:
            json.dumps(json.loads(value), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(bodies())
def test_every_field_is_found_in_its_place(body: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    raw, fields = body
    if usable(fields):
        found = [(name, raw[value:end].rstrip(b" \t\r\n")) for name, _, value, end in places(raw)]
        assert found == fields


@given(bodies(), st.dictionaries(NAMES, st.none() | st.just(b'"new"'), max_size=3))
def test_a_change_leaves_every_other_field_as_it_was_written(
    body: tuple[bytes, list[tuple[str, bytes]]], changes: dict[str, bytes | None]
) -> None:
    raw, fields = body
    changes = {name.encode("utf-8", "replace").decode(): value for name, value in changes.items()}
    if not usable(fields) or not fields:
        return
    before = places(raw)
    changed = splice(raw, before, changes)
    expected: dict[str, Any] = {**dict(fields), **changes}
    assert {name: changed[value:end].strip() for name, _, value, end in places(changed)} == {
        name: value for name, value in expected.items() if value is not None
    }
    for name, start, _, end in before:
        if name not in changes and name not in ("model", "stream", "tools", "stream_options"):
            assert raw[start:end] in changed
    assert splice(raw, before, {}) == raw or len(dict(fields)) < len(fields)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"1", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{"a":1}x', b'{"a":1 "b":2}',
        b'{a:1}', b'{"a" 1}', b'{"a":[}', b'{"a":tru}', b'{"a":01}', b'{"a":"\\x"}', b'{"\\x":1}', b'{,}', b'{"a":1}{}',
        b"\xef\xbb\xbf{}", b'{"\xff":1}', b'{"a":1]',
    ],
)  # fmt: skip
def test_what_is_no_object_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's own among them
        list(read_fields(raw))


def test_more_fields_than_an_api_has_are_refused() -> None:
    fields = b",".join(b'"%d":0' % number for number in range(MAX_FIELDS))
    assert len(list(read_fields(b"{" + fields + b"}"))) == MAX_FIELDS
    with pytest.raises(BadRequest):
        list(read_fields(b"{" + fields + b',"one more":0}'))


def test_an_endless_name_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadRequest):
        read_fields(b'{"' + b"n" * (MAX_NAME_BYTES + AT_ONCE_BYTES) + b'":1}')


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(RecursionError):
        list(read_fields(b'{"a":' + b"[" * 100_000))


@pytest.mark.parametrize("name", ["Model", "MODEL", "Stream", "max_Tokens", "\u017ftream"])
def test_a_second_spelling_of_a_governed_field_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        spelling_check({"model", name})
    assert refused.value.field == name


def test_other_names_may_have_capitals() -> None:
    spelling_check(["model", "topK", "responseFormat", "été"])


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"",', b"1,", b'{"a":1},', b"[[[[]]]],"])
def test_a_scan_takes_no_memory_however_much_there_is_in_a_value(piece: bytes) -> None:
    raw = b'{"model":"m","messages":[' + piece * (2_000_000 // len(piece)) + b"0]}"
    tracemalloc.start()
    try:
        names = [name for name, _ in read_fields(raw)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert names == ["model", "messages"]
    assert most < 50_000


def test_spans_may_end_with_the_last_change() -> None:
    raw = b'{ "model" : "m" , "x":1 , "y": 2 }'
    first = places(raw)[0]
    assert first == Span("model", 2, 12, 16)
    assert splice(raw, [first], {"model": b'"n"'}) == b'{ "model" : "n", "x":1 , "y": 2 }'
    assert splice(raw, [first], {"model": None}) == b'{ "x":1 , "y": 2 }'
    assert splice(raw, [], {"z": b"3"}) == b'{ "model" : "m" , "x":1 , "y": 2 ,"z":3}'
