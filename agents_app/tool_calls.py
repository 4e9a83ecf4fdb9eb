"""Settling the tool calls of one response, concurrently.

The first exception cancels the other calls and is raised as it is: the runner must see an abort or a lost lease, and no
call may continue after its leg has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agents_app.engine import Leg
from tools_app.types import CallResult


async def settle_calls(leg: Leg, call_ids: Sequence[str]) -> dict[str, CallResult] | None:
    """Settles the calls. Returns the results for the model by call id, or None when at least one call is pending."""
    results = await call_results(leg, call_ids)
    return None if results is None else {result.call_id: result for result in results}


async def call_results(leg: Leg, call_ids: Sequence[str]) -> list[CallResult] | None:
    """Settles the calls. Returns their results in order, or None when at least one call is pending."""
    results = [await leg.call(call_ids[0])] if len(call_ids) == 1 else await _settle_concurrently(leg, call_ids)
    settled = [result for result in results if result is not None]
    return settled if len(settled) == len(results) else None


async def _settle_concurrently(leg: Leg, call_ids: Sequence[str]) -> list[CallResult | None]:
    tasks = [asyncio.ensure_future(leg.call(call_id)) for call_id in call_ids]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
