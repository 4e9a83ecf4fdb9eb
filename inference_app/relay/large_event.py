"""An event that is too large to be held back: it passes in pieces, and its usage and end are read from them.

Images and audio come in such events. Only the beginning is kept, for the event's type, and as much of the end of each
piece as a usage object may have.
"""

from __future__ import annotations

import re

from inference_app.spend.usage import ReportedUsage, read_usage

KEPT_BYTES = 4096
"""More than any usage object has; what is cut in two by pieces is found by it."""

# A quote within a text has a backslash before it.
_USAGE = re.compile(rb'(?<!\\)"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
_FINISH = re.compile(rb'(?<!\\)"finish_reason"\s*:\s*"[^"]')
_NAME = re.compile(rb"^event:[ ]?(\S+)", re.MULTILINE)
_TYPE = re.compile(rb'"type"\s*:\s*"([^"\\]+)"')


class LargeEvent:
    """One event, from its beginning on. `finished`: a choice in it has its finish reason."""

    __slots__ = ("_kept", "finished", "kind", "reported")

    def __init__(self, beginning: bytes) -> None:
        head = beginning[:KEPT_BYTES]
        found = _NAME.search(head) or _TYPE.search(head)
        self.kind = found[1].decode("latin-1") if found is not None else ""
        self.reported: ReportedUsage | None = None
        self.finished = False
        self._kept = b""
        self.add(beginning)

    @property
    def edge(self) -> bytes:
        """The last bytes, in which a blank line may have begun."""
        return self._kept[-3:]

    def add(self, piece: bytes) -> None:
        """Reads the next bytes."""
        seen = self._kept + piece
        for found in _USAGE.finditer(seen):
            if (usage := read_usage(found[1])) is not None:
                self.reported = usage.merge(self.reported)
        self.finished = self.finished or _FINISH.search(seen) is not None
        self._kept = seen[-KEPT_BYTES:]
