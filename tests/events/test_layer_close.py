"""A Redis layer whose receiver loses cancellations is closed all the same."""

from __future__ import annotations

import asyncio
from typing import Any

from events_app.layer import LocalChannelLayer, layer_close


class Shard:
    """Its receiver swallows the first cancellation, as redis-py's timeouts sometimes do."""

    def __init__(self) -> None:
        self._receive_task = asyncio.create_task(self._receive())

    async def _receive(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


class RedisLayer:
    """The parts of the layer that are closed."""

    def __init__(self) -> None:
        self._shards = [Shard()]
        self.flushed = False

    def _get_layer(self) -> Any:
        return self

    async def flush(self) -> None:
        assert all(shard._receive_task.done() for shard in self._shards)
        self.flushed = True


async def test_a_receiver_that_loses_a_cancellation_is_cancelled_again() -> None:
    layer = RedisLayer()
    await asyncio.sleep(0)
    await asyncio.wait_for(layer_close(layer), 30)
    assert layer.flushed


async def test_a_layer_in_memory_has_nothing_to_close() -> None:
    await layer_close(LocalChannelLayer())
