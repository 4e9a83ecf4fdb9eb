"""The responses of a socket that are not stored, so that the requests after them can continue them.

They live as long as the socket, and the oldest make room for new ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

from core_app.errors import RateLimited, Unavailable
from edge_app.http.body_budget import BODIES, BodyShare

MAX_RESPONSES = 32
MAX_BYTES = 8 * 1024 * 1024


class UnstoredResponses:
    """The newest responses of one socket with their whole conversations, as lists of items in JSON. They are in the
    tenant's share of the memory for bodies."""

    def __init__(self, owner: int) -> None:
        self._owner = owner
        self._known: OrderedDict[str, tuple[Sequence[str], BodyShare]] = OrderedDict()
        self._bytes = 0

    def put(self, response_id: str, items: Sequence[str]) -> None:
        """Remembers a response, unless it is larger than all that may be remembered, or there is no memory for it."""
        size = _size(items)
        if size > MAX_BYTES or response_id in self._known:
            return
        share = BODIES.open_share(self._owner)
        with suppress(RateLimited, Unavailable):
            share.grow_to(size)
            self._known[response_id] = (items, share)
            self._bytes += size
        while len(self._known) > MAX_RESPONSES or self._bytes > MAX_BYTES:
            self._forget_oldest()

    def items(self, response_id: str | None) -> Sequence[str] | None:
        """Returns the conversation up to the end of a response; None for one that is not known."""
        known = None if response_id is None else self._known.get(response_id)
        return None if known is None else known[0]

    def close(self) -> None:
        """Forgets all of them."""
        while self._known:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (items, share) = self._known.popitem(last=False)
        self._bytes -= _size(items)
        share.release()


def _size(items: Sequence[str]) -> int:
    return sum(map(len, items))
