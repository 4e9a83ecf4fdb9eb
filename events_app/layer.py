"""The in-memory channel layer for one process, without what the stock one pays for on every message.

channels' InMemoryChannelLayer walks all groups at each send (10,000 followed streams make a send cost over a
millisecond), takes a channel out of its groups when one message is old, copies messages deeply and delivers in
no order. The hub is the only client, drains at once and sends immutable bytes, so none of that is needed. Beside
it, the one way to close a layer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer

from core_app.timeouts import cancel_tasks


class LocalChannelLayer(InMemoryChannelLayer):  # type: ignore[misc]  # channels is untyped
    """Delivers in order, at once, to bounded queues; a full queue loses the message, as every layer may."""

    def _clean_expired(self) -> None:
        """Nothing expires: a message is drained within one turn of the loop."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Puts `message` on the queue of every member of `group`."""
        for channel in self.groups.get(group, ()):
            queue = self.channels.get(channel)
            if queue is None:
                queue = self.channels[channel] = asyncio.Queue(maxsize=self.get_capacity(channel))
            if not queue.full():
                queue.put_nowait((0.0, message))


async def layer_close(layer: Any) -> None:
    """Ends what a Redis layer keeps open on this loop; nothing for one in memory.

    Its receiver polls with a timeout in which a cancellation can be lost: cancelled once, it may run for ever and keep
    the process from ending (seen in one end of twenty). So it is cancelled until it has ended.
    """
    if not hasattr(layer, "_get_layer"):
        return
    for shard in layer._get_layer()._shards:
        receiver = shard._receive_task
        if receiver is not None:
            await cancel_tasks(receiver)
    await layer.flush()
