"""The pace of the demo's answers: slow enough to be watched, and only at their beginning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from django.conf import settings

from inference_app.demo.script import Act

PACED_ACTS = 200
"""Words of an answer that come at the pace of GATEWAY_DEMO_DELAY_MS. Nobody watches more, and a run is not held up."""


async def pace_acts(acts: Iterator[Act], *, delay_ms: float | None = None) -> AsyncIterator[Act]:
    """Yields the acts with pauses between them; `delay_ms` is a pause that the client asked for, for all of them."""
    pause = (settings.GATEWAY_DEMO_DELAY_MS if delay_ms is None else delay_ms) / 1000
    for number, act in enumerate(acts):
        if number and pause and (delay_ms is not None or number < PACED_ACTS):
            await asyncio.sleep(pause)
        yield act
