"""Notification of changed agents. Upper rooms subscribe and make events of them; nothing is kept here.

Listeners are called in a database thread, inside the transaction that made the change, so that what they write is
committed with it or not at all. Importing this module needs no models, so `AppConfig` modules may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from core_app.lifecycle import process_wide

if TYPE_CHECKING:
    from agents_app.directory.selectors import AgentInfo

Kind = Literal["registered", "unregistered", "status"]
Listener = Callable[[int | None, Kind, "AgentInfo"], None]
"""Called with the tenant (None: an agent of all tenants), the kind of change, and the agent after the change; with the
kind `unregistered`, before it."""


class Listeners:
    """The listeners of this process. Subscriptions of apps, which are made once, outlive a reset."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener, once; returns what removes it."""
        if listener not in self._listeners:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def publish(self, tenant_id: int | None, kind: Kind, info: AgentInfo) -> None:
        """Calls the listeners in the order of their subscription; an exception is the change's."""
        for listener in tuple(self._listeners):
            listener(tenant_id, kind, info)


AGENT_CHANGES = process_wide(Listeners())
"""Process-wide instance."""


def agent_changes_subscribe(listener: Listener) -> Callable[[], None]:
    """Subscribes to changes of agents, in `AppConfig.ready`; returns what ends the subscription."""
    return AGENT_CHANGES.subscribe(listener)


def publish_agent_change(tenant_id: int | None, kind: Kind, agent_info: AgentInfo) -> None:
    """Tells the listeners of a change. Called inside its transaction."""
    AGENT_CHANGES.publish(tenant_id, kind, agent_info)
