"""The hub ends when it is told to, whatever the channel layer makes of being cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from events_app.batches import Batch, StoredEvent
from events_app.hub import Hub


class SwallowingLayer(InMemoryChannelLayer):  # type: ignore[misc]  # channels is untyped
    """Takes a cancellation for its own, as the Redis layer does in the middle of a command."""

    def __init__(self) -> None:
        super().__init__()
        self.sending = asyncio.Event()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.sending.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


@pytest.mark.django_db(transaction=True)
async def test_a_hub_stops_when_its_layer_swallows_the_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SwallowingLayer()
    monkeypatch.setattr("events_app.hub.get_channel_layer", lambda: layer)
    hub = Hub()
    await hub.start()
    hub.publish([Batch(1, [StoredEvent(1, 1, "session_updated", None, b"{}")])])
    await asyncio.wait_for(layer.sending.wait(), 5)
    await asyncio.wait_for(hub.stop(), 5)
    assert not hub.running
