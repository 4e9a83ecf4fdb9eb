"""The hub and a channel layer that fails: the hub goes on, logs little, and stops when it has to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.db import InterfaceError

from events_app import hub as hub_module
from events_app.batches import Batch, StoredEvent
from events_app.hub import Hub


class SwallowingLayer(InMemoryChannelLayer):  # type: ignore[misc]  # channels is untyped
    """Swallows a cancellation, as the Redis layer does in the middle of a command."""

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
    await asyncio.wait_for(layer.sending.wait(), 30)
    await asyncio.wait_for(hub.stop(), 30)
    assert not hub.running


class AwayLayer(InMemoryChannelLayer):  # type: ignore[misc]  # channels is untyped
    """A Redis that is down."""

    def __init__(self, sends: int) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self._left = sends

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._left -= 1
        if not self._left:
            self.asked.set()
        raise ConnectionError("refused")


@pytest.mark.django_db(transaction=True)
async def test_a_layer_that_is_away_is_said_once_and_not_for_every_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer = AwayLayer(sends=50)
    monkeypatch.setattr("events_app.hub.get_channel_layer", lambda: layer)
    hub = Hub()
    await hub.start()
    hub.publish([Batch(1, [StoredEvent(1, 1, "session_updated", None, b"{}")])] * 50)
    await asyncio.wait_for(layer.asked.wait(), 30)
    await asyncio.wait_for(hub.stop(), 30)
    assert hub.dropped == 50
    assert len([record for record in caplog.records if "channel_send_failed" in record.getMessage()]) == 1


async def test_a_check_that_fails_in_any_way_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's InterfaceError, of a connection that was closed, is no DatabaseError."""
    monkeypatch.setattr(hub_module, "CHECK_SECONDS", 0.0)
    hub, again, looked = Hub(), asyncio.Event(), 0

    async def check(*, full: bool) -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise InterfaceError("connection already closed")
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(hub, "check", check)
    await hub._checks.start()
    await asyncio.wait_for(again.wait(), 30)
    await hub._checks.stop()
