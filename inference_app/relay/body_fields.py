"""Top-level fields of a JSON body, found in one pass that keeps nothing of their values but where they are.

msgspec checks the values and builds no object for what is in them. Names are decoded: `"mod\\u0065l"` is the field
`model`. A name that comes more than once is found as often as it comes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from core_app.errors import BadRequest
from inference_app.relay.large_bodies import AT_ONCE_BYTES

MAX_FIELDS = 1000
"""The limit of top-level fields; an API of a provider has a few dozen."""

MAX_NAME_BYTES = 8192
"""The limit for a field's name with the white space around it."""

GOVERNED = frozenset(
    {
        "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens", "n",
        "messages", "input", "tools", "tool_choice", "reasoning", "reasoning_effort", "store", "background",
        "previous_response_id",
    }
)  # fmt: skip
"""Fields that the gateway reads, changes or leaves out. The provider must read the same value as the gateway did."""

Value = msgspec.Raw | memoryview
Fields = Sequence[tuple[str, Value]]
"""All fields in the order of the body, with their values as JSON."""


class _Name(str):
    """A name as the key of a mapping that has all fields, those of the same name too."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


_FIELDS = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=str.__new__)
_VALUE = msgspec.json.Decoder(msgspec.Raw)
_NEXT_BYTE = re.compile(r"trailing characters \(byte (\d+)\)")
_OPEN = re.compile(rb"[ \t\n\r]*+\{[ \t\n\r]*+")
_NAME = re.compile(rb'[ \t\n\r]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL)
_SPACE = re.compile(rb"[ \t\n\r]*+")
_CLOSED = re.compile(rb"[ \t\n\r]*+\Z")
_COMMA, _BRACE = b",}"


class Span(NamedTuple):
    """One field by its place in the body: its name in quotes from `start`, its value from `value` to before `end`.

    White space between the value and `end`, where a comma or the closing brace is, belongs to the value.
    """

    name: str
    start: int
    value: int
    end: int


def read_fields(raw: bytes) -> Fields:
    """Returns the fields of a JSON object; raises ValueError or RecursionError for anything else, and BadRequest for
    more than MAX_FIELDS or too long a name."""
    if len(raw) > AT_ONCE_BYTES:
        return list(_scan(raw))
    fields = [(str(name), value) for name, value in _FIELDS.decode(raw).items()]
    if len(fields) > MAX_FIELDS:
        raise _too_many()
    return fields


def spans(raw: bytes, fields: Fields) -> Iterator[Span]:
    """Yields the places of the fields that were read from this body."""
    at = raw.index(b"{") + 1
    for name, value in fields:
        found = _NAME.match(raw, at)
        assert found is not None
        start = found.end()
        space = _SPACE.match(raw, start + len(value))
        assert space is not None
        yield Span(name, found.start(1), start, space.end())
        at = space.end() + 1


def _scan(raw: bytes) -> Iterator[tuple[str, memoryview]]:
    """Yields the fields of a large body. All at once, small ones would take a hundred times their bytes, and a long
    name four times."""
    if (found := _OPEN.match(raw)) is None:
        raise ValueError("The body is not an object.")
    at, count, view = found.end(), 0, memoryview(raw)
    if raw[at : at + 1] == b"}":
        _close_check(raw, at)
        return
    while True:
        if (found := _NAME.match(raw, at, at + MAX_NAME_BYTES)) is None:
            raise _name_error(raw, at)
        count += 1
        if count > MAX_FIELDS:
            raise _too_many()
        end = _end_of_value(view, found.end())
        yield msgspec.json.decode(found[1], type=str), view[found.end() : end]
        if raw[end] == _BRACE:
            _close_check(raw, end)
            return
        if raw[end] != _COMMA:
            raise ValueError("A comma is missing.")
        at = end + 1


def repeated_names(fields: Fields) -> Collection[str]:
    """Returns the governed names that come more than once."""
    return {name for name, times in Counter(name for name, _ in fields).items() if times > 1 and name in GOVERNED}


def spelling_check(names: Collection[str]) -> None:
    """Raises BadRequest for a field that is a governed one but for the case of its letters. Some JSON readers ignore
    case, so a provider might serve another model than the one that was checked and charged."""
    joined = "".join(names)
    if joined.islower() and joined.isascii():
        return
    for name in names:
        if name not in GOVERNED and (governed := name.casefold()) in GOVERNED:
            raise BadRequest(f"The field '{name}' must be spelled '{governed}'.", field=name)


def splice(raw: bytes, places: Sequence[Span], changes: Mapping[str, bytes | None]) -> bytes:
    """Returns the body with the values of `changes`, without the fields that are None there, and with only the last of
    each name that comes more than once in `places` and is governed. New fields come last. Every other byte stays.

    `places` may end with the last field of `changes`, when none comes twice.
    """
    last = {name: start for name, start, *_ in places}
    view, at = memoryview(raw), raw.index(b"{") + 1
    parts: list[bytes | memoryview] = [view[:at]]
    for name, start, value, end in places:
        changed = name in changes
        new = changes[name] if changed else None
        if (changed and new is None) or (last[name] != start and (changed or name in GOVERNED)):
            at = end + 1
            continue
        parts += (view[at:value], new, b",") if new is not None else (view[at:end], b",")
        at = end + 1
    close = raw.rindex(b"}")
    if at <= close:
        parts += (view[at:close], b",")
    for name, value_bytes in changes.items():
        if name not in last and value_bytes is not None:
            parts += (msgspec.json.encode(name), b":", value_bytes, b",")
    if len(parts) > 1:
        parts.pop()
    return b"".join((*parts, view[close:]))


def _end_of_value(view: memoryview, value: int) -> int:
    """Returns the place of the first byte behind the value and the white space after it."""
    try:
        _VALUE.decode(view[value:])
    except msgspec.DecodeError as error:
        # The only way to learn where a value ends that costs nothing per part of the value.
        if (found := _NEXT_BYTE.search(str(error))) is None:
            raise
        return value + int(found[1]) - 1
    raise ValueError("The object is not closed.")


def _close_check(raw: bytes, brace: int) -> None:
    if _CLOSED.match(raw, brace + 1) is None:
        raise ValueError("Something follows the object.")


def _name_error(raw: bytes, at: int) -> Exception:
    if len(raw) - at > MAX_NAME_BYTES:
        return BadRequest(f"A field of the body has a name of more than {MAX_NAME_BYTES} bytes, or is not valid JSON.")
    return ValueError("A field has no name.")


def _too_many() -> BadRequest:
    return BadRequest(f"The body has more than {MAX_FIELDS} fields.")
