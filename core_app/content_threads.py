"""Threads for work on content that tenants or their servers chose: pages, tool results, long conversations.

The threads belong to no event loop and are daemons, so that work that does not end delays neither other tenants' work
nor the end of the process. A tenant may use half of them at once. Work that takes long is done in pieces and asks its
`Deadline` between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from django.conf import settings

from core_app.lifecycle import process_wide
from core_app.metrics import CONTENT_TIMEOUTS

R = TypeVar("R")


class Deadline:
    """The moment at which work must end; without `seconds` there is none."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raises TimeoutError once the moment has passed."""
        if self._until is not None and time.monotonic() > self._until:
            raise TimeoutError

    def remaining(self) -> float | None:
        """Returns the seconds that are left, at least 0; None without a limit."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())


Work = Callable[[Deadline], R]
Slots = WeakValueDictionary[int | None, asyncio.Semaphore]


class ContentThreads:
    """GATEWAY_CONTENT_THREADS threads, started when they are first needed."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, Slots] = WeakKeyDictionary()

    async def run(self, work: Work[R], *, owner: int | None, seconds: float | None = None) -> R:
        """Returns the result of `work`, done in a thread. `owner` is the tenant. Raises TimeoutError after `seconds`,
        which include the wait for a thread; work that ignores its deadline keeps its thread until it returns."""
        deadline = Deadline(seconds)
        try:
            async with asyncio.timeout(seconds):
                return await self._run(work, owner, deadline)
        except TimeoutError:
            CONTENT_TIMEOUTS.inc()
            raise

    async def _run(self, work: Work[R], owner: int | None, deadline: Deadline) -> R:
        loop = asyncio.get_running_loop()
        slots = self._slots.setdefault(loop, WeakValueDictionary())
        slot = slots.setdefault(owner, asyncio.Semaphore(_share()))
        await slot.acquire()
        future: Future[R] = Future()
        future.add_done_callback(lambda _: _release(loop, slot))
        self._start_threads()
        self._items.put((future, partial(copy_context().run, work, deadline)))
        return await asyncio.wrap_future(future)

    def _start_threads(self) -> None:
        with self._guard:
            while len(self._threads) < settings.GATEWAY_CONTENT_THREADS:
                name = f"gateway-content-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()

    def _work(self) -> None:
        while True:
            future, work = self._items.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # contains: nothing; the awaiting task gets it
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del future, work


def _share() -> int:
    return max(1, settings.GATEWAY_CONTENT_THREADS // 2)


def _release(loop: asyncio.AbstractEventLoop, slot: asyncio.Semaphore) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(slot.release)


CONTENT = process_wide(ContentThreads())
"""Process-wide instance."""
