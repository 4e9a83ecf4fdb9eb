"""Server-sent events as they come from a provider, cut anywhere, and as they go to a client.

The parser keeps the line rules of the standard (LF, CRLF, CR, comments, several `data` lines, a byte order mark); of
an event only its data matters here, for every wire repeats the type inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from core_app import jsontext

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event larger than this is no event: the memory that a provider can take per stream is bounded."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventTooLarge(ValueError):
    """The provider sent an event above MAX_EVENT_BYTES."""


class EventParser:
    """Bytes in, the data of each complete event out."""

    def __init__(self) -> None:
        self._pending = b""
        self._search_from = 0
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields what has become complete; EventTooLarge when nothing does for too long."""
        self._pending += chunk
        if not self._started and not self._strip_bom():
            return
        at = 0
        for end in _LINE_END.finditer(self._pending, self._search_from):
            # A CR at the very end may be the first half of CRLF.
            if end.group() == b"\r" and end.end() == len(self._pending):
                break
            yield from self._read_line(self._pending[at : end.start()])
            at = end.end()
        self._pending = self._pending[at:]
        self._search_from = max(0, len(self._pending) - 1)
        if len(self._pending) + self._size > MAX_EVENT_BYTES:
            raise EventTooLarge

    def end(self) -> Iterator[bytes]:
        """What an upstream that forgot the last blank line left."""
        rest, self._pending = self._pending.rstrip(b"\r"), b""
        yield from self._read_line(rest)
        if rest:
            yield from self._read_line(b"")

    def _strip_bom(self) -> bool:
        """Whether the first bytes are there; a byte order mark is taken off."""
        if len(self._pending) < len(_BOM) and _BOM.startswith(self._pending):
            return False
        self._started = True
        self._pending = self._pending.removeprefix(_BOM)
        return True

    def _read_line(self, line: bytes) -> Iterator[bytes]:
        if not line:
            data, self._data, self._size = self._data, [], 0
            if data:
                yield b"\n".join(data)
        elif line.startswith(b"data:"):
            value = line[5:].removeprefix(b" ")
            self._data.append(value)
            self._size += len(value)


def typed_event(event: dict[str, Any]) -> bytes:
    """An event of Anthropic's or of the Responses API's: its type stands on a line of its own too."""
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + jsontext.encode(event) + b"\n\n"


def bare_event(event: dict[str, Any]) -> bytes:
    """An event of chat's; the empty one is the end."""
    return b"data: " + (jsontext.encode(event) if event else DONE) + b"\n\n"
