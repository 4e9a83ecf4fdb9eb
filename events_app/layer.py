"""The in-memory channel layer of an embedded gateway, and the way to close a layer of either kind.

The InMemoryChannelLayer of Channels walks all groups at each send (with 10,000 followed streams a send takes over a
millisecond), removes a channel from its groups when one message is old, copies messages deeply and does not keep their
order. The hub is the only client, receives at once and sends immutable bytes, so none of that is needed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer

from core_app.timeouts import cancel_tasks


class LocalChannelLayer(InMemoryChannelLayer):  # type: ignore[misc]  # channels is untyped
    """Delivers at once and in order to bounded queues. A full queue loses the message, as every layer may."""

    def _clean_expired(self) -> None:
        """Does nothing: a message is received in the next iteration of the loop, so none expires."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Puts the message into the queue of every member of the group."""
        for channel in self.groups.get(group, ()):
            queue = self.channels.get(channel)
            if queue is None:
                queue = self.channels[channel] = asyncio.Queue(maxsize=self.get_capacity(channel))
            if not queue.full():
                queue.put_nowait((0.0, message))


async def layer_close(layer: Any) -> None:
    """Closes what a Redis layer keeps open on this loop; does nothing for a layer in memory.

    The receiver of a Redis layer polls with a timeout in which a cancellation can be lost. Cancelled once, it may go on
    for ever and keep the process from ending (seen once in twenty stops), so it is cancelled until it has ended.
    """
    if not hasattr(layer, "_get_layer"):
        return
    for shard in layer._get_layer()._shards:
        receiver = shard._receive_task
        if receiver is not None:
            await cancel_tasks(receiver)
    await layer.flush()
