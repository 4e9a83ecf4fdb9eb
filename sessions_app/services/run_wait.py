"""Waiting for the end of a run. The waiter follows the session's log and holds no thread meanwhile."""

from __future__ import annotations

import asyncio

from core_app import database
from events_app.follower import FollowEnded, Follower
from events_app.generations import Generations
from sessions_app.events import TERMINAL_TYPES
from sessions_app.models import Run


async def run_wait(*, run_id: str, seconds: float) -> Run | None:
    """Returns the run once it has ended; None when it has not after `seconds`, or is erased meanwhile."""
    start = await database.run(_run_start, run_id)
    if start is None:
        return None
    stream_id, first_offset, bases = start
    generations = Generations.parse(bases)
    first = generations.position(first_offset)
    try:
        async with (
            asyncio.timeout(seconds),
            Follower(stream_id, after=first, generations=generations) as follower,
        ):
            while True:
                for event in await follower.next():
                    if event.type in TERMINAL_TYPES and event.run_id == run_id:
                        return await database.run(_run_get, run_id)
    except (TimeoutError, FollowEnded):
        return None


def _run_start(run_id: str) -> tuple[int, int, str] | None:
    """Returns the run's stream, the offset of its first event, and the stream's generations."""
    columns = ("session__stream_id", "first_offset", "session__stream__bases")
    return Run.objects.filter(pk=run_id).values_list(*columns).first()


def _run_get(run_id: str) -> Run | None:
    return Run.objects.filter(pk=run_id).first()
