"""Old sessions, of 50 events each, that retention removes per second, and the latency of prompts meanwhile.

The references are the same prompts before it begins, on the same rows. First the cost of a round that finds nothing to
remove in 20,000 sessions: the first round, and one that knows how far the one before has looked.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from tests.benchmarks.at_scale import fill_in_child, statistics_collect, time_prompts
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment, running_server
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT

QUIET_SESSIONS = 20_000
QUERIES = 50.0
CHILD_SECONDS = 600
SESSIONS = 6000
LEFT = 700
"""The sessions that stay: waiting ones, and those that are too young."""
LONGEST_SECONDS = 30.0


async def measure() -> AsyncIterator[Figure]:
    for distributed, name in ((False, "SQLite"), (True, "PostgreSQL")):
        with deployment(distributed=distributed) as state:
            if state is not None:
                for figure in _quiet_figures(name, await asyncio.to_thread(quiet_rounds, state)):
                    yield figure
    for distributed, name in ((False, "SQLite"), (True, "PostgreSQL")):
        with deployment(distributed=distributed) as state:
            if state is None:
                continue
            await asyncio.to_thread(fill_in_child, state, SESSIONS)
            await asyncio.to_thread(statistics_collect, state)
            async with running_server(state) as server:
                alone = await time_prompts(server.url, "alone", prompts=60)
            async for figure in _measure_removal(state, name, alone):
                yield figure


async def _measure_removal(state: Deployment, name: str, alone: list[float]) -> AsyncIterator[Figure]:
    """Measures retention, which begins with the server's first sweep, beside prompts until it has finished or time is
    up."""
    count = f"SELECT COUNT(*) FROM sessions_app_agentsession WHERE id <= {SESSIONS}"
    settings = {**state.settings, "RETENTION_SESSIONS_DAYS": "1"}
    removing = Deployment(state.directory, state.database_url, state.redis_url, settings)
    async with running_server(removing) as server:
        before, began = (await asyncio.to_thread(state.rows, count))[0][0], time.perf_counter()
        left, taken = before, list[float]()
        while left > LEFT and time.perf_counter() - began < LONGEST_SECONDS:
            taken += await time_prompts(server.url, f"during-{len(taken)}", prompts=5)
            left = (await asyncio.to_thread(state.rows, count))[0][0]
        seconds = time.perf_counter() - began
    yield Figure(f"sessions removed beside prompts, {name}", (before - left) / seconds, "sessions/s", better="higher")
    for share, label in ((0.5, "p50"), (0.99, "p99"), (1.0, "longest")):
        during, reference = percentile(taken, share), percentile(alone, share)
        yield Figure(f"prompt accepted during retention, {name}, {label}", during, "ms", reference, "ms without it")


def quiet_rounds(state: Deployment) -> list[dict[str, Any]]:
    """Runs two rounds of retention with nothing to remove, in a child process."""
    command = [sys.executable, "-m", "tests.benchmarks.quiet_retention", str(QUIET_SESSIONS)]
    environment = state.environment(0) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def _quiet_figures(name: str, rounds: list[dict[str, Any]]) -> list[Figure]:
    figures = []
    for label, found in zip(("first", "next"), rounds, strict=True):
        what = f"{label} round with nothing to remove, {name}"
        figures.append(Figure(what, found["queries"], "queries", budget=QUERIES))
        figures.append(Figure(what, found["seconds"] * 1000, "ms"))
    return figures
