"""Channel layers that break their promises on purpose: they lose, repeat and reorder messages, or fail."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from events_app.layer import LocalChannelLayer


class LosingLayer(LocalChannelLayer):
    """Delivers nothing at all."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Loses the message."""


class UnrulyLayer(LocalChannelLayer):
    """Loses every third message, repeats every second one, and lets each overtake the one before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sent = 0
        self._kept: list[tuple[str, dict[str, Any]]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Delivers some messages, later and twice."""
        self._sent += 1
        if self._sent % 3 == 0:
            return
        self._kept += [(group, message)] * (1 + self._sent % 2)
        if len(self._kept) >= 3:
            kept, self._kept = self._kept, []
            for late in reversed(kept):
                await super().group_send(*late)


class RaisingLayer(LocalChannelLayer):
    """Fails at every send, and receives values that are not messages."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Raises."""
        await super().group_send(group, {"type": "stream.batch", "batch": b"\x00 not a batch"})
        raise OSError("the layer is away")


class GrouplessLayer(LocalChannelLayer):
    """Joins and leaves no group while its `mood`, shared by all instances, is to hang or to fail."""

    mood: Literal["hangs", "fails", "works"] = "works"
    asked = 0

    async def group_add(self, group: str, channel: str) -> None:
        """Joins when the mood is good."""
        await self._ask()
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leaves when the mood is good."""
        await self._ask()
        await super().group_discard(group, channel)

    async def _ask(self) -> None:
        GrouplessLayer.asked += 1
        if self.mood == "hangs":
            await asyncio.Event().wait()
        if self.mood == "fails":
            raise OSError("the layer is away")
