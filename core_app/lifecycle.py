"""The life of a process: its parts and its periodic work.

Parts start in order and stop in reverse (`gateway_project.process.lifecycle.Gateway`). A server calls `start` once its
loop runs, `drain` when it is told to end (no new work, followers told to reconnect, running legs finish or hand over)
and `stop` last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from core_app.instances import PROCESS_WIDE, ProcessWide, process_wide, reset_process_wide
from core_app.timeouts import cancel_tasks

__all__ = ["PROCESS_WIDE", "Part", "Periodic", "ProcessWide", "process_wide", "reset_process_wide"]

logger = structlog.get_logger("gateway.lifecycle")


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
