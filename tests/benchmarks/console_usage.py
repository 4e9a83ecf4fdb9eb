"""The console's usage and operations over 100,000 ledger rows and 101,000 runs of 90 days.

Pages are requested as a browser requests them, 20 times over one connection; a figure is the median. They are requested
first while the ledger's rows are being folded into days, and then again; the last days are what the page shows by
itself, 90 days the most that the rows have.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from tests.benchmarks.at_scale import FILL_SECONDS, page_asked, statistics_collect
from tests.benchmarks.figures import Figure
from tests.benchmarks.scale_rows import DAYS, RECORDS
from tests.benchmarks.serving import deployment, running_server
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT, free_port

SESSIONS = 50_000
"""Each has two runs and two rows of the ledger."""

BUDGET_MS = 300.0
BY = ("model", "key", "agent", "end_user")


async def measure() -> AsyncIterator[Figure]:
    for distributed, name in ((False, "SQLite"), (True, "PostgreSQL")):
        with deployment(distributed=distributed, RATE_LIMIT_RPM="0") as state:
            if state is None:
                continue
            found = await asyncio.to_thread(_fill, state)
            await asyncio.to_thread(statistics_collect, state)
            async with running_server(state) as server:
                for who in ("person", "root"):
                    cookies = {"gateway_session": found[who]}
                    async with aiohttp.ClientSession(server.url, cookies=cookies) as http:
                        for path in _pages(who):
                            page = await page_asked(http, server, path)
                            label = f"{path[9:40]} of {who}, {name}, p50"
                            processor = "ms of the server's processor"
                            yield Figure(label, page.median, "ms", page.processor, processor, BUDGET_MS)


def _pages(who: str) -> list[str]:
    if who == "root":
        return ["/console/operations"]
    first = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
    recent = [f"/console/usage?by={by}" for by in BY]
    every = [f"/console/usage?by={by}&start={first}" for by in BY]
    return ["/console/operations", *recent, *every, "/console/usage.csv?by=model"]


def _fill(state: Deployment) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.scale_rows", str(SESSIONS), RECORDS]
    environment = state.environment(free_port()) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=FILL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))
