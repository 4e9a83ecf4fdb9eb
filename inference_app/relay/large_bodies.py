"""Work on bodies: small ones at once, large ones in two threads of their own.

Two, because the work is the interpreter's: more would take its lock from the loop as often as they are many. Threads
that others need, such as those for names and files, stay free whatever clients send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from core_app.database import pool

AT_ONCE_BYTES = 64 * 1024
"""The limit for work on the loop; a megabyte takes tens of milliseconds."""

THREADS = 2

P = ParamSpec("P")
R = TypeVar("R")


async def run_for_size(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Returns what `work` returns for the body of `size` bytes that is among its arguments."""
    if size <= AT_ONCE_BYTES:
        return work(*args, **kwargs)
    threads = pool("gateway-bodies", THREADS)
    return await asyncio.get_running_loop().run_in_executor(threads, partial(work, *args, **kwargs))
