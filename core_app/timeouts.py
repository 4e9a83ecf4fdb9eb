"""The running loop, two time-outs and the end of tasks, for paths where a microsecond counts.

Python 3.11 makes a system call for every `get_running_loop` (the process might have forked), and `asyncio.timeout`
makes three. A relayed request needs the loop a dozen times, which was a fifteenth of its cost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

_latest: list[tuple[int, asyncio.AbstractEventLoop]] = []


def running_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop that runs in this thread; RuntimeError without one."""
    thread = threading.get_ident()
    for known, loop in _latest:
        # A thread runs one loop at a time: a running loop that was last seen in this thread is still this thread's.
        if known == thread and loop.is_running():
            return loop
    loop = asyncio.get_running_loop()
    _latest[:] = [(thread, loop)]
    return loop


RECANCEL_SECONDS = 0.2
"""The pause of `cancel_tasks` before it cancels a task again."""
LOCATION_FRAMES = 4


async def cancel_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks until they have ended; their exceptions are not raised here. For loops that run for ever.

    One cancellation is not enough: Python 3.11's `asyncio.wait_for` loses one that arrives when its awaitable is done,
    and redis-py sends every command through it (one of four was lost while it connected).
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=RECANCEL_SECONDS)


def task_location(task: asyncio.Task[Any]) -> str:
    """Returns where a task waits: its innermost LOCATION_FRAMES as `file:line function`, outermost first. Safe from any
    thread, and true for a moment only."""
    awaited: Any = task.get_coro()
    frames = []
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        frames.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = awaited.cr_await
    return " > ".join(frames[-LOCATION_FRAMES:])


COARSE_SECONDS = 10.0
"""Deadlines this far away have no timer of their own: a loop checks all of its coarse deadlines once a second."""

_coarse: WeakKeyDictionary[asyncio.AbstractEventLoop, CoarseTimers] = WeakKeyDictionary()


class Deadline:
    """A time-out for a block, `async with Deadline(seconds)`, at a fifth of the cost of `asyncio.timeout`.

    Raises TimeoutError; a deadline of COARSE_SECONDS or more expires up to a second late.
    """

    __slots__ = ("_at", "_cancelling", "_coarse", "_expired", "_handle", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False
        self._handle: asyncio.TimerHandle | None = None
        self._coarse: CoarseTimers | None = None
        self._task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> None:
        loop = running_loop()
        self._task = task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("A deadline needs a task.")
        self._cancelling = task.cancelling()
        if self._seconds < COARSE_SECONDS:
            self._handle = loop.call_later(self._seconds, self._expire)
            return
        self._at = loop.time() + self._seconds
        coarse = _coarse.get(loop)
        if coarse is None:
            coarse = _coarse[loop] = CoarseTimers()
        coarse.deadlines.add(self)
        self._coarse = coarse
        if not coarse.scheduled:
            coarse.check(loop)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        elif self._coarse is not None:
            self._coarse.deadlines.discard(self)
        # A cancellation from elsewhere at the same moment takes precedence, as with `asyncio.timeout`.
        if (
            self._expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired, self._handle = True, None
        if self._task is not None:
            self._task.cancel()

    def expire_if_due(self, now: float) -> bool:
        """Expires the deadline when its time is over, and returns whether it is."""
        if now < self._at:
            return False
        self._expire()
        return True


class CoarseTimers:
    """The coarse deadlines of one loop."""

    def __init__(self) -> None:
        self.deadlines: set[Deadline] = set()
        self.scheduled = False

    def check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expires the deadlines that are due, and checks again a second later while there are any."""
        now = loop.time()
        self.deadlines -= {deadline for deadline in self.deadlines if deadline.expire_if_due(now)}
        self.scheduled = bool(self.deadlines)
        if self.scheduled:
            loop.call_later(1.0, self.check, loop)


class IdleTimer:
    """Calls `on_idle` after `seconds` without data while data was expected.

    `resume` says that data is expected, `pause` that it arrived. One timer serves all chunks of a stream, and is set
    again when it runs out too early: a timer for each chunk would cost more than passing the chunk on.
    """

    __slots__ = ("_handle", "_loop", "_on_idle", "_seconds", "_since")

    def __init__(self, seconds: float, on_idle: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_idle = on_idle
        self._loop = running_loop()
        self._since: float | None = None
        self._handle: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._check)

    def resume(self) -> None:
        """Counts from now on: data is expected."""
        self._since = self._loop.time()

    def pause(self) -> None:
        """Stops counting until `resume` is called again."""
        self._since = None

    def close(self) -> None:
        """Ends the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        idle = 0.0 if self._since is None else self._loop.time() - self._since
        if idle < self._seconds:
            self._handle = self._loop.call_later(self._seconds - idle, self._check)
        else:
            self._handle = None
            self._on_idle()
