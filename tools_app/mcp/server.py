"""A server as this process knows it: its definition, connection and tools, and the pauses after failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tools_app.executors.base import Builtin
from tools_app.executors.mcp_connection import Connection
from tools_app.mcp.definitions import ServerDefinition
from tools_app.mcp.tool_list import ToolList

RETRY_SECONDS = 30.0
"""Pause before a server that failed once is tried again. It doubles with every further failure."""

MAX_RETRY_SECONDS = 600.0

LIST_SECONDS = 60.0
"""Age at which a list of tools is asked for again, for servers that tell nothing of changes."""

SPACING_SECONDS = 0.1
"""The time between two legs that have waited for the same attempt and go on. Twenty that went on at once kept other
tenants' prompts waiting for a second."""

LONGEST_SPREAD_SECONDS = 3.0
"""How long a leg is kept back for this at most: beyond it they go on together."""

MAX_CALLS = 32
"""Calls of one server at once; further ones wait, within their time."""

State = Literal["", "ok", "unavailable", "unauthorized"]

MakeBuiltins = Callable[[ServerDefinition, ToolList], tuple[Builtin, ...]]


@dataclass(slots=True)
class Server:
    """`listing` is that of the last connection, which may be broken by now. `reason` says why there is none."""

    definition: ServerDefinition
    connection: Connection | None = None
    opening: asyncio.Task[Connection] | None = None
    refreshing: asyncio.Task[None] | None = None
    listing: ToolList = field(default_factory=ToolList)
    builtins: tuple[Builtin, ...] = ()
    protocol: str = ""
    state: State = ""
    reason: str = ""
    stale: bool = False
    listed_at: float = 0.0
    used_at: float = field(default_factory=time.monotonic)
    failures: int = 0
    closed_until: float = 0.0
    next_leaves_at: float = 0.0
    """When the next leg that has waited for an attempt may go on, by the clock of the loop."""
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CALLS))

    @property
    def is_open(self) -> bool:
        """True while calls can be made."""
        return self.connection is not None and not self.connection.broken

    @property
    def is_fresh(self) -> bool:
        """True while the list of tools need not be asked for again."""
        return not self.stale and time.monotonic() - self.listed_at < LIST_SECONDS

    def needs_work(self, definition: ServerDefinition) -> bool:
        """True if `definition` is new, its server may be connected to, or its tools may be others by now."""
        if self.definition != definition:
            return True
        if self.is_open:
            return not self.is_fresh
        return self.opening is not None or self.closed_until <= time.monotonic()

    def leave_at(self, now: float) -> float:
        """Returns the time at which a leg that has waited until now goes on."""
        moment = max(now, self.next_leaves_at)
        if moment > now + LONGEST_SPREAD_SECONDS:
            return now + LONGEST_SPREAD_SECONDS
        self.next_leaves_at = moment + SPACING_SECONDS
        return moment

    def note_failure(self, state: State, reason: str) -> None:
        """Starts the pause before the next attempt."""
        self.listing, self.builtins = ToolList(), ()
        self.state, self.reason = state, reason
        pause = min(RETRY_SECONDS * 2**self.failures, MAX_RETRY_SECONDS)
        self.failures, self.closed_until = min(self.failures + 1, 16), time.monotonic() + pause

    def note_listing(self, listing: ToolList, builtins: Sequence[Builtin]) -> None:
        """Takes over what the server lists now."""
        self.listing, self.builtins = listing, tuple(builtins)
        self.state, self.reason = "ok", ""
        self.failures, self.closed_until = 0, 0.0
        self.listed_at = time.monotonic()
