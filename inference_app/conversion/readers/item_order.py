"""Order of items whose pieces a provider may interleave: each item's steps come in one piece, in the order of opening.

The first open item streams; steps of others wait until it is closed. At the end of a completion everything that waits
is passed on, so a provider that closes no item loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference_app.conversion.steps import Step


class ItemOrder:
    """The open items of one completion."""

    def __init__(self) -> None:
        self._open: dict[int, list[Step]] = {}
        self._closed: set[int] = set()
        self._first = self._next = 0

    def open(self) -> int:
        """Opens an item and returns its key."""
        key = self._next
        self._next += 1
        self._open[key] = []
        return key

    def add(self, key: int, step: Step) -> Sequence[Step]:
        """Returns the step of an open item if it is the first; else it waits."""
        if key == self._first:
            return (step,)
        self._open[key].append(step)
        return ()

    def close(self, key: int) -> Sequence[Step]:
        """Closes an item, and returns the steps of those behind it that waited for it."""
        if key == self._first and key + 1 == self._next:
            # Nothing waits behind the newest item.
            del self._open[key]
            self._first += 1
            return ()
        self._closed.add(key)
        passed: list[Step] = []
        while self._first in self._closed:
            self._closed.discard(self._first)
            del self._open[self._first]
            self._first += 1
            waiting = self._open.get(self._first)
            if waiting:
                self._open[self._first] = []
                passed += waiting
        return passed

    def end(self) -> Iterator[Step]:
        """Yields the steps of all items that are still open, and closes them."""
        for key in list(self._open):
            yield from self.close(key)
