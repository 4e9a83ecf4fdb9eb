"""A watchdog on the event loop: how much processor time the longest single callback took.

Processor time of the loop's own thread, not elapsed time: what another process or thread did meanwhile is not the
loop's fault, and the figure is the same on a loaded machine.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LIMIT = 0.050
"""No tenant may hold the loop for longer, in seconds."""


@dataclass
class Watch:
    """The longest callback so far."""

    longest: float = 0.0
    culprit: str = ""


@contextmanager
def loop_watched() -> Iterator[Watch]:
    """Watches every callback and every step of a task on loops of this process."""
    watch = Watch()
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        taken = time.thread_time() - begun
        if taken > watch.longest:
            watch.longest, watch.culprit = taken, repr(handle)

    # As `serve` does: a collection goes through what came since, and not through all that the tests loaded.
    gc.collect()
    gc.freeze()
    asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
    try:
        yield watch
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.unfreeze()
