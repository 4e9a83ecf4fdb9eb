"""Clients of sessions whose database may go back in time: they keep the log, or are told from where it is new.

What each of them was told, and what it should not have been told, is compared with the log by `laws`.
"""

from __future__ import annotations

import asyncio

from tests.stack.client import Event, Seen, Watcher


class Resettable(Seen):
    """Keeps what it is shown as docs/protocol-native.md says: after a reset, only what precedes its position."""

    def take(self, event: Event) -> None:
        if event.type == "events_dropped":
            self._drop(event)
            return
        if event.id != len(self.events) + 1:
            self.complaints.append(f"{event.position} came after {self.position}")
        super().take(event)

    def _drop(self, event: Event) -> None:
        if event.data.get("reason") != "reset" or str(event.data["from"]) != self.position:
            self.complaints.append(f"{event.data} came after {self.position}")
        self.resets.append(event)
        kept = self.events[: event.id]
        self.events, self.over, self.asked = [], set(), set()
        for seen in kept:
            super().take(seen)


class Reader(Resettable, Watcher):
    """A follower over SSE that may leave and come back."""

    def sleeps(self) -> None:
        """Its connection breaks, and it does not come back before `wakes`."""
        self._task.cancel()

    def wakes(self) -> None:
        self._task = asyncio.create_task(self._run())
