"""The parts of a running process, in the order they start; they stop in reverse.

A server calls `start` once its loop runs, `drain` when it is told to end (no new work, followers told to
reconnect, running legs finish or hand over) and `stop` last.
"""

from __future__ import annotations

from typing import Protocol


class Part(Protocol):
    """A long-lived piece of the process: the hub, the flusher, the runner, the sweep."""

    async def start(self) -> None:
        """Begins its work on the running loop; called once."""

    async def drain(self) -> None:
        """Takes no new work and brings what runs to a safe point, within GATEWAY_DRAIN_SECONDS."""

    async def stop(self) -> None:
        """Ends its tasks and threads; nothing of it is left when this returns."""
