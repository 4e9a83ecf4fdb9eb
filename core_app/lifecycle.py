"""The parts of a running process, in the order they start; they stop in reverse.

A server calls `start` once its loop runs, `drain` when it is told to end (no new work, followers told to
reconnect, running legs finish or hand over) and `stop` last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

logger = structlog.get_logger("gateway.lifecycle")


class Part:
    """A long-lived piece of the process: the hub, the flusher, the runner, the sweep. Each step does nothing unless
    the part overrides it."""

    async def start(self) -> None:
        """Begins the work on the running loop; called once."""

    async def drain(self) -> None:
        """Takes no new work and brings what runs to a safe point, within GATEWAY_DRAIN_SECONDS."""

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
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])

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
