"""`manage.py serve`, or `worker` when that is named, with a demo engine whose words are the times at which they were
emitted, so that their latency can be measured.

The rest is the demo engine's: the real agent loop, the real leg. Words alternate between thinking and text, so that
none is joined with its neighbour. The prompt is `count N`, and `at T` for the monotonic time of the first word in
milliseconds, so that many runs stream together; `providerOpts.delayMs` is the pause between two words.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import django
from django.core.management import execute_from_command_line

PROMPT = re.compile(r"count (\d+)(?: at (\d+))?")


def stamped_stream(script: Any, delay_ms: float | None) -> Callable[..., AsyncIterator[Any]]:
    """Replaces the script of the demo's stream; keeps to its schedule however long emitting a word takes."""
    pause = (delay_ms or 0.0) / 1000

    async def stream(messages: Any, info: Any) -> AsyncIterator[Any]:
        from pydantic_ai.models.function import DeltaThinkingPart

        match = PROMPT.search(str(messages[-1]))
        assert match is not None
        loop = asyncio.get_running_loop()
        # Not all in one turn of the loop: clients do not speak in chorus.
        begin = int(match.group(2) or 0) / 1000 - time.monotonic() + random.uniform(0, pause)
        due = loop.time() + max(0.0, begin)
        yield "- "
        for number in range(int(match.group(1))):
            due += pause
            await asyncio.sleep(max(0.0, due - loop.time()))
            word = f"{time.monotonic_ns()} "
            yield {0: DeltaThinkingPart(content=word)} if number % 2 == 0 else word

    return stream


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    django.setup()
    from agents_app import demo

    replaced: Any = demo
    replaced._stream_function = stamped_stream
    execute_from_command_line([sys.argv[0], *(sys.argv[1:] or ["serve"])])


if __name__ == "__main__":
    main()
