"""A watchdog on the event loop: how much processor time the longest single callback took.

Processor time of the loop's own thread, not elapsed time: what another process or thread did meanwhile is not the
loop's fault, and the figure is the same on a loaded machine. Nor is what the collector took counted, which goes
through all that a whole run of tests has made, whenever it is its time.
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
"""No tenant may hold the loop for longer, in seconds."""


@dataclass
class Watch:
    """The longest callback so far."""

    longest: float = 0.0
    culprit: str = ""
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def collecting(self, phase: str, _: dict[str, Any]) -> None:
        """The collector begins or ends in this thread."""
        if phase == "start":
            self._local.begun = time.thread_time()
        else:
            self._local.collected = self._collected() + time.thread_time() - self._local.__dict__.pop("begun", 0.0)

    def _collected(self) -> float:
        return float(getattr(self._local, "collected", 0.0))

    def now(self) -> float:
        """This thread's processor time without its collections."""
        return time.thread_time() - self._collected()

    def took(self, seconds: float, handle: asyncio.Handle) -> None:
        if seconds > self.longest:
            self.longest, self.culprit = seconds, repr(handle)


@contextmanager
def loop_watched() -> Iterator[Watch]:
    """Watches every callback and every step of a task on loops of this process."""
    watch = Watch()
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        begun = watch.now()
        run(handle)
        watch.took(watch.now() - begun, handle)

    # As `serve` does: a collection goes through what came since, and not through all that the tests loaded.
    gc.collect()
    gc.freeze()
    gc.callbacks.append(watch.collecting)
    asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
    try:
        yield watch
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.callbacks.remove(watch.collecting)
        gc.unfreeze()
