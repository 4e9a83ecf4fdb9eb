"""The life of a process: its parts, its periodic work, and the registry of its process-wide instances.

Parts start in order and stop in reverse (`gateway_project.process.lifecycle.Gateway`). A server calls `start` once its
loop runs, `drain` when it is told to end (no new work, followers told to reconnect, running legs finish or hand over)
and `stop` last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from core_app.timeouts import cancel_tasks

T = TypeVar("T")

logger = structlog.get_logger("gateway.lifecycle")


@dataclass(frozen=True, slots=True)
class ProcessWide:
    """An entry of PROCESS_WIDE. `reset` makes the instance forget what it learned; None when it has nothing to forget
    between two lives of the process."""

    instance: object
    reset: Callable[[], object] | None


PROCESS_WIDE: list[ProcessWide] = []
"""All module-level instances that hold state, in the order their modules were imported."""


def process_wide(instance: T, *, reset: Callable[[T], object] | None = None) -> T:
    """Registers `instance` as process-wide and returns it: `CACHE = process_wide(Cache(), reset=Cache.clear)`.

    State of a process lives in a module only this way, so that it can be listed, and reset by one call. A part whose
    `stop` undoes what `start` did needs no `reset`.
    """
    PROCESS_WIDE.append(ProcessWide(instance, None if reset is None else partial(reset, instance)))
    return instance


def reset_process_wide() -> None:
    """Makes all process-wide instances forget what they learned: caches, counts, circuits, configuration read before.
    Tests call it; it may be called while the parts run."""
    for entry in PROCESS_WIDE:
        if entry.reset is not None:
            entry.reset()


class Part:
    """A long-lived component of the process: the hub, the flusher, the runner, the sweep. Each step does nothing unless
    a subclass overrides it."""

    async def start(self) -> None:
        """Starts the part's tasks on the running loop; called again after a start that failed."""

    async def drain(self) -> None:
        """Accepts nothing new and brings running tasks to a safe point, within GATEWAY_DRAIN_SECONDS."""

    async def stop(self) -> None:
        """Ends all tasks and threads of the part; none is left when this returns."""


class Periodic(Part):
    """A part that calls `work` for as long as the process runs, `pause` seconds after the last call ended.

    An exception of `work` goes to `failed`, which logs it by default, and never ends the loop. `first`: whether the
    first call comes at once or after a pause. `pause` may be a function, for settings that are read before each
    pause. A subclass whose work can be woken early overrides `wait`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        pause: float | Callable[[], float],
        *,
        first: bool = True,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._pause = pause
        self._first = first
        self._failed = failed or self._log_failure
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the loop."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Cancels the loop and waits for its end."""
        if self._task is not None:
            task, self._task = self._task, None
            await cancel_tasks(task)

    async def wait(self) -> None:
        """The pause between two rounds."""
        await asyncio.sleep(self._pause() if callable(self._pause) else self._pause)

    async def _run(self) -> None:
        if not self._first:
            await self.wait()
        while True:
            try:
                await self._work()
            except Exception as error:  # contains: one failed round must not end the rounds after it
                self._failed(error)
            await self.wait()

    def _log_failure(self, error: Exception) -> None:
        logger.error("periodic_work_failed", work=self.name, exc_info=error)
