"""Agents that wait for permission while nobody runs a leg for them.

An agent that asks for permission keeps its place in the program, so the program is kept for the leg that brings the
decision. It is ended when its run is over, when another process has taken the run, when there are too many, and when
this process ends. A leg that does not find it starts the agent again (`agents_app.acp.conversation`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from core_app import database
from core_app.lifecycle import Periodic, process_wide

MAX_PARKED = 32
"""Programs that one process keeps waiting; the one that has waited longest is ended for another."""

CHECK_SECONDS = 2.0
MISSES = 2
"""Checks in a row that do not find the run waiting, before its program is ended: a leg that begins takes it first."""

Paused = Callable[[Collection[str]], Collection[str]]
"""Returns those of the given runs that wait, or are ready to go on."""


class Waiting(Protocol):
    """A program that waits."""

    async def close(self) -> None:
        """Ends it, with all that it started."""


class Parked(Periodic):
    """The programs of this process that wait, by run; a part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        super().__init__("parked_agents", self.check, CHECK_SECONDS, first=False)
        self._programs: dict[str, Waiting] = {}
        self._misses: dict[str, int] = {}
        self._paused: Paused = lambda run_ids: run_ids

    def source_set(self, paused: Paused) -> None:
        """Sets what knows the runs; a query."""
        self._paused = paused

    async def put(self, run_id: str, program: Waiting) -> None:
        """Keeps a program until its run goes on."""
        await self.end(run_id)
        self._programs[run_id] = program
        while len(self._programs) > MAX_PARKED:
            await self.end(next(iter(self._programs)))

    def take(self, run_id: str) -> Waiting | None:
        """Returns the program of a run, which is the caller's from now on."""
        self._misses.pop(run_id, None)
        return self._programs.pop(run_id, None)

    async def end(self, run_id: str) -> None:
        """Ends the program of a run, if there is one."""
        if (program := self.take(run_id)) is not None:
            await program.close()

    async def check(self) -> None:
        """Ends the programs whose runs do not wait any more."""
        if not self._programs:
            return
        run_ids = tuple(self._programs)
        paused = set(await database.run(self._paused, run_ids))
        for run_id in run_ids:
            self._misses[run_id] = 0 if run_id in paused else self._misses.get(run_id, 0) + 1
            if self._misses[run_id] >= MISSES:
                await self.end(run_id)

    async def stop(self) -> None:
        """Ends all programs."""
        await super().stop()
        await asyncio.gather(*(self.end(run_id) for run_id in tuple(self._programs)))


PARKED = process_wide(Parked())
"""Process-wide instance, started by `Gateway`."""
