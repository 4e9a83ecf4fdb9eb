"""Parser of a provider's server-sent events, and encoder of a client's events.

The parser follows the line rules of the standard (LF, CRLF, CR, comments, several `data` lines, byte order mark) and
takes chunks that are split anywhere. It ignores the event's type, because every wire repeats the type in the data;
only agents mark the end by a type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from inference_app.conversion import exact_json

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Maximum size of an event, which limits the memory that a provider can use per stream."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventTooLarge(ValueError):
    """The sender's event is larger than the limit."""


class EventParser:
    """Incremental parser: chunks of bytes in, the data of complete events out.

    An event of the type `end_type` is read as DONE, whatever its data. `max_bytes` limits an event."""

    def __init__(self, *, end_type: bytes | None = None, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._end_type = end_type
        self._max_bytes = max_bytes
        self._ending = False
        self._pending = b""
        self._search_from = 0
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    @property
    def is_between_events(self) -> bool:
        """True if nothing of an event is held back."""
        return self._started and not self._pending and not self._data

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields the data of the events that this chunk completes. Raises EventTooLarge above `max_bytes`."""
        self._pending += chunk
        if not self._started and not self._strip_bom():
            return
        at = 0
        for end in _LINE_END.finditer(self._pending, self._search_from):
            # A CR at the end of the chunk may be the first half of CRLF.
            if end.group() == b"\r" and end.end() == len(self._pending):
                break
            yield from self._read_line(self._pending[at : end.start()])
            at = end.end()
        self._pending = self._pending[at:]
        self._search_from = max(0, len(self._pending) - 1)
        if len(self._pending) + self._size > self._max_bytes:
            raise EventTooLarge

    def end(self) -> Iterator[bytes]:
        """Yields the last event if the provider omitted the blank line after it."""
        rest, self._pending = self._pending.rstrip(b"\r"), b""
        yield from self._read_line(rest)
        if rest:
            yield from self._read_line(b"")

    def _strip_bom(self) -> bool:
        """Removes a byte order mark; returns False until enough bytes have arrived to decide."""
        if len(self._pending) < len(_BOM) and _BOM.startswith(self._pending):
            return False
        self._started = True
        self._pending = self._pending.removeprefix(_BOM)
        return True

    def _read_line(self, line: bytes) -> Iterator[bytes]:
        if not line:
            data, self._data, self._size = self._data, [], 0
            if self._ending:
                self._ending = False
                yield DONE
            elif data and (joined := b"\n".join(data)).strip():
                # Some providers keep a connection alive by events with empty data.
                yield joined
        elif line.startswith(b"data:"):
            value = line[5:].removeprefix(b" ")
            self._data.append(value)
            self._size += len(value)
        elif self._end_type is not None and line.startswith(b"event:"):
            self._ending = line[6:].strip() == self._end_type


def typed_event(event: dict[str, Any]) -> bytes:
    """Encodes an event of Anthropic's or of the Responses API, which also has its type on an `event` line."""
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + exact_json.encode(event) + b"\n\n"


def bare_event(event: dict[str, Any]) -> bytes:
    """Encodes a chunk of chat; the empty chunk is `[DONE]`."""
    return b"data: " + (exact_json.encode(event) if event else DONE) + b"\n\n"
