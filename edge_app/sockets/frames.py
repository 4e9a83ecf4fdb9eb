"""Parsing of frames off the loop where they are large, and the refusal of those that are no request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PARSE_ON_LOOP_BYTES = 16 * 1024
"""A larger frame is parsed in a thread, because strict JSON of 1 MiB would delay every other socket."""


class FrameRefused(Exception):
    """A frame that is no request; `reply` is the encoded reply."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


async def parse_off_loop(parse: Callable[[bytes], T], frame: bytes) -> T:
    """Returns what `parse` makes of the frame: at once for a small one, in a thread for a large one."""
    if len(frame) <= PARSE_ON_LOOP_BYTES:
        return parse(frame)
    return await asyncio.to_thread(parse, frame)
