"""A watchdog of the event loop: the processor time of the longest single callback.

It measures processor time of the loop's own thread, not elapsed time, so that other processes and threads do not change
the figure. Garbage collection, which goes through the objects of a whole test run, is not counted.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LIMIT = 0.050
"""The longest time that a tenant may block the loop, in seconds."""


@dataclass
class Watch:
    """The longest callback so far."""

    longest: float = 0.0
    culprit: str = ""
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def on_collection(self, phase: str, _: dict[str, Any]) -> None:
        """Accounts for a start or end of the garbage collector in this thread."""
        if phase == "start":
            self._local.begun = time.thread_time()
        else:
            self._local.collected = (
                self._collection_seconds() + time.thread_time() - self._local.__dict__.pop("begun", 0.0)
            )

    def _collection_seconds(self) -> float:
        return float(getattr(self._local, "collected", 0.0))

    def now(self) -> float:
        """Returns this thread's processor time without its garbage collections."""
        return time.thread_time() - self._collection_seconds()

    def took(self, seconds: float, handle: asyncio.Handle) -> None:
        if seconds > self.longest:
            self.longest, self.culprit = seconds, repr(handle)


@contextmanager
def loop_watched() -> Iterator[Watch]:
    """Watches every callback and every step of a task on loops of this process."""
    watch = Watch()
    run = asyncio.Handle._run

    def run_timed(handle: asyncio.Handle) -> None:
        begun = watch.now()
        run(handle)
        watch.took(watch.now() - begun, handle)

    # As `serve` does: a collection goes through what came since, and not through all that the tests loaded.
    gc.collect()
    gc.freeze()
    gc.callbacks.append(watch.on_collection)
    asyncio.Handle._run = run_timed  # type: ignore[method-assign,assignment]
    try:
        yield watch
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.callbacks.remove(watch.on_collection)
        gc.unfreeze()
