"""How much the gateway's own code does, counted: the lines it runs. The figure is the same on every machine, however
busy, where the time that they take is not.

What is inside one line (a search in a text, a library that is not Python) counts as one step: whether that is done at
all is for the test to ask.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooManySteps(AssertionError):
    """More was done than the test allows; raised where it happened."""


@contextmanager
def steps_at_most(limit: int, *, within: str) -> Iterator[None]:
    """Ends what it surrounds as soon as more than `limit` lines of modules whose names begin with `within` were run."""
    taken = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal taken
        taken += event == "line"
        if taken > limit:
            raise TooManySteps(f"more than {limit} steps, in {frame.f_code.co_qualname}")
        return line

    def called(frame: FrameType, _: str, __: Any) -> Any:
        return line if frame.f_globals.get("__name__", "").startswith(within) else None

    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)
