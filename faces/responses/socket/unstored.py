"""The responses of a socket that are not stored, so that the requests after them can continue them.

They live as long as the socket, and the oldest make room for new ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

MAX_RESPONSES = 32
MAX_BYTES = 8 * 1024 * 1024


class UnstoredResponses:
    """The newest responses of one socket with their whole conversations, as lists of items in JSON."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Sequence[str]] = OrderedDict()
        self._bytes = 0

    def put(self, response_id: str, items: Sequence[str]) -> None:
        """Remembers a response, unless it is larger than all that may be remembered."""
        size = _size(items)
        if size > MAX_BYTES or response_id in self._known:
            return
        self._known[response_id] = items
        self._bytes += size
        while len(self._known) > MAX_RESPONSES or self._bytes > MAX_BYTES:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= _size(oldest)

    def items(self, response_id: str | None) -> Sequence[str] | None:
        """Returns the conversation up to the end of a response; None for one that is not known."""
        return None if response_id is None else self._known.get(response_id)


def _size(items: Sequence[str]) -> int:
    return sum(map(len, items))
