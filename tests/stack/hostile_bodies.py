"""Bodies of any size in the shapes that cost a careless reader most, for every wire that reads one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

MEBIBYTE = 1024 * 1024

Shape = Callable[[int], bytes]
"""Returns about that many bytes: the inside of an object, to follow other fields."""


def filled(piece: bytes, size: int) -> bytes:
    """Returns a list of so many pieces."""
    return b"[" + piece * ((size - 3) // len(piece)) + b"0]"


def repeated(field: bytes, piece: bytes) -> Shape:
    return lambda size: field + b":" + filled(piece, size - len(field) - 1)


def text(field: bytes, start: bytes, piece: bytes) -> Shape:
    def shape(size: int) -> bytes:
        quoted = b'"' + start + piece * ((size - len(start) - len(field) - 60) // len(piece)) + b'"'
        # As a message, an item or a block: a converter takes each of them.
        return field + b':[{"role":"user","content":' + quoted + b"}]"

    return shape


def fields(piece: bytes) -> Shape:
    return lambda size: piece * (size // len(piece)) + b'"last":0'


def numbered(size: int) -> bytes:
    return b",".join(b'"%d":0' % number for number in range(size // 12)) + b',"last":0'


def nested(start: bytes, end: bytes) -> Shape:
    def shape(size: int) -> bytes:
        depth = size // (len(start) + len(end))
        return b'"messages":' + start * depth + b"0" + end * depth

    return shape


def long_name(size: int) -> bytes:
    return '"😀'.encode() + b"n" * size + b'":0'


EMOJI = "😀".encode()
THINKING = b'{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""}]},'
SHAPES: dict[str, Shape] = {
    "many fields": numbered,
    "a governed field again and again": fields(b'"stream":false,'),
    "an endless name": long_name,
    "deep arrays": nested(b"[", b"]"),
    "deep objects": nested(b'{"a":', b"}"),
    "arrays": repeated(b'"messages"', b"[],"),
    "objects": repeated(b'"messages"', b"{},"),
    "texts": repeated(b'"messages"', b'"",'),
    "numbers": repeated(b'"messages"', b"7,"),
    "long numbers": repeated(b'"messages"', b"1234567890123456789012345678901234567890,"),
    "messages": repeated(b'"messages"', b'{"role":"user","content":"a"},'),
    "unsigned thinking": repeated(b'"messages"', THINKING),
    "an endless name within": lambda size: b'"messages":[' + THINKING + b"{" + long_name(size - 120) + b"}]",
    "a text": text(b'"messages"', b"", b"a"),
    "a text with an emoji": text(b'"messages"', EMOJI, b"a"),
    "a text of other letters": text(b'"messages"', b"", "語".encode()),
    "escapes": text(b'"messages"', b"", rb"\n"),
    "escaped letters": text(b'"messages"', b"", rb"\u00e9"),
    "half characters": text(b'"messages"', b"", rb"\ud83d"),
    "a half character": text(b'"messages"', rb"\ud83d", b"a"),
    "white space": lambda size: b" " * (size - 20) + b'"messages":[]',
}
DECODED = (
    "arrays", "messages", "an endless name within", "a text", "a text with an emoji", "a text of other letters",
    "escapes", "a half character",
)  # fmt: skip
"""Those that cost a reader which decodes the whole body."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A path that reads bodies. `start` are the fields before those of a shape, `field` is what the path calls the
    field with everything in it, and `shapes` are those to try."""

    path: str
    start: bytes
    size: int
    field: bytes = b'"messages":'
    shapes: Collection[str] = DECODED

    def bodies(self) -> Iterator[tuple[str, bytes]]:
        """Yields every shape's body, of at most the size."""
        for name in self.shapes:
            inside = SHAPES[name](self.size - len(self.start) - 64).replace(b'"messages":', self.field, 1)
            body = b"{" + self.start + b"," + inside + b"}"
            assert len(body) <= self.size
            yield name, body
