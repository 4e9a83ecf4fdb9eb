"""A limit on the steps of the gateway's own code: the lines that it runs. Unlike their time, their number is the same
on every machine.

The work within one line (a search in a text, a library that is not Python) counts as one step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooManySteps(AssertionError):
    """The code ran more steps than the test allows; raised at the line that exceeded them."""


@contextmanager
def steps_at_most(limit: int, *, within: str) -> Iterator[None]:
    """Raises TooManySteps in the block as soon as more than `limit` lines of modules named `within…` were run."""
    taken = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal taken
        taken += event == "line"
        if taken > limit:
            raise TooManySteps(f"more than {limit} steps, in {frame.f_code.co_qualname}")
        return line

    def trace_call(frame: FrameType, _: str, __: Any) -> Any:
        return line if frame.f_globals.get("__name__", "").startswith(within) else None

    before = sys.gettrace()
    sys.settrace(trace_call)
    try:
        yield
    finally:
        sys.settrace(before)
