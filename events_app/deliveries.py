"""Deliveries of events to connected clients, and those who want to know of them before the client does.

A room registers a function for a type of event (`DELIVERIES.observe`) when its app is ready. Faces that show a stream
to a client call `DELIVERIES.prepare` with each batch, before they send it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from core_app.lifecycle import process_wide
from events_app.batches import StoredEvent
from tenants_app.principal import Principal

Observer = Callable[[Principal, Sequence[StoredEvent]], Awaitable[None]]


class Deliveries:
    """The observers by type of event. They are registered at the start, and stay."""

    def __init__(self) -> None:
        self._observers: dict[str, Observer] = {}

    def observe(self, event_type: str, observer: Observer) -> None:
        """Lets `observer` wait for the events of a type; it gets the caller who is about to see them."""
        self._observers[event_type] = observer

    def has_observed(self, events: Sequence[StoredEvent]) -> bool:
        """True when one of the events has an observer."""
        return any(event.type in self._observers for event in events)

    async def prepare(self, principal: Principal, events: Sequence[StoredEvent]) -> None:
        """Waits for the observers of events that `principal` is about to see. Batches without such events cost a look
        at the type of each."""
        observers = self._observers
        for event_type in {event.type for event in events if event.type in observers}:
            await observers[event_type](principal, [event for event in events if event.type == event_type])


DELIVERIES = process_wide(Deliveries())
"""Process-wide instance."""
